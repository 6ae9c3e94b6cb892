package edge

import (
	"context"

	"github.com/beeline-rt/beeline/contracts"
)

// Arbiter is asked for what a client's token does not allow. Its error means that it gave no answer.
type Arbiter interface {
	Allows(ctx context.Context, op, client, target string) (bool, error)
}

var errArbiter = &contracts.Error{Code: contracts.CodeUnavailable, Message: "whether this is allowed could not be found out, try again"}

// permitted goes on if the token allows the request, or else if the arbiter does: it is asked on a goroutine of its own, since
// the reading one waits for nobody.
func (s *Session) permitted(req *contracts.Request, p Permissions, op string, targets []string, goOn func()) {
	var ask []string
	for _, t := range targets {
		if p == nil || !p.Allows(t) {
			ask = append(ask, t)
		}
	}
	switch {
	case len(ask) == 0:
		goOn()
		return
	case s.edge.arbiter == nil:
		s.refuse(req, notAllowed(op, ask[0]))
		return
	}
	back := contracts.Request{ID: req.ID, HasID: true}
	s.edge.work.Go(func() {
		for _, t := range ask {
			ok, err := s.edge.arbiter.Allows(s.edge.ctx, op, string(s.identity.Client), t)
			if err != nil {
				s.edge.metrics.arbiterErrors.Inc()
				s.refuse(&back, errArbiter)
				return
			}
			if !ok {
				s.refuse(&back, notAllowed(op, t))
				return
			}
		}
		goOn()
	})
}

func notAllowed(op, target string) *contracts.Error {
	return &contracts.Error{Code: contracts.CodeForbidden, Message: "you may not " + op + " " + target}
}
