package embedded

import "fmt"

// Messages returns how many messages the server has taken in and given out since it started.
func (s *Server) Messages() (uint64, error) {
	v, err := s.nats.Varz(nil)
	if err != nil {
		return 0, fmt.Errorf("count the messages of the embedded NATS server: %w", err)
	}
	return uint64(v.InMsgs + v.OutMsgs), nil
}
