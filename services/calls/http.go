package calls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"strconv"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// target is an instance that is reached by HTTP.
type target struct {
	url    string
	host   string // of that, for logs
	health string // what is asked whether it is well; empty: nothing
}

const (
	healthTick = 2 * time.Second // between two questions whether a target is well
	healthTime = time.Second     // for its answer
	awayTime   = time.Second     // for which a target is passed over that takes no connection
	dialTime   = time.Second
	idleTime   = time.Minute // for which a connection is kept without a call
	idleConns  = 256         // connections to one target that are kept
)

// newHTTPClient returns a client that does what it is told and no more: it follows nobody elsewhere, uses no proxy, and tries nothing again
// that may have been carried out. (net/http sends a POST again only if nothing of it was written.)
func newHTTPClient() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSHandshakeTimeout: dialTime, // a dial outlives the call that it was begun for
			MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTime,
			MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
		},
	}
}

// startHTTP makes an instance of each address of a service, and looks after them.
func (d *Dispatcher) startHTTP(s *service) {
	for _, url := range s.cfg.HTTP {
		sum := sha256.Sum256([]byte(url))
		// Every edge gives it the same id, which can stand in Redis and in logs as an address cannot.
		i := &instance{service: s, id: contracts.InstanceID("http-" + hex.EncodeToString(sum[:8])), target: &target{url: url}}
		if u, err := neturl.Parse(url); err == nil { // it was checked
			i.target.host = u.Host
			if s.cfg.Health != "" { // at the same host
				u.Path, u.RawPath, u.RawQuery = s.cfg.Health, "", ""
				i.target.health = u.String()
			}
		}
		i.capacity.Store(int32(min(s.cfg.InFlight, contracts.MaxCapacity)))
		i.weight.Store(1)
		i.fit.Store(true)
		s.mu.Lock()
		s.instances[i.id] = i
		s.list(i)
		s.mu.Unlock()
		if i.target.health != "" {
			d.work.Go(func() { d.attend(i) })
		}
	}
}

// attend asks a target whether it is well. Two times no, and it gets nothing; a yes, and it does again.
func (d *Dispatcher) attend(i *instance) {
	for bad := 0; ; {
		if d.well(i.target.health) {
			bad = 0
			d.back(i)
		} else if bad++; bad == 2 {
			d.dead(i, "it is not well")
		}
		if !d.pause(healthTick) {
			return
		}
	}
}

func (d *Dispatcher) well(url string) bool {
	ctx, cancel := context.WithTimeout(d.ctx, healthTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4096) // so that the connection can be kept
	return resp.StatusCode/100 == 2
}

// back has a target get calls again. All other nodes hear that this one may have moved keys of it until now.
func (d *Dispatcher) back(i *instance) {
	s := i.service
	s.mu.Lock()
	news := !i.fit.Swap(true)
	if news {
		s.list(i)
	}
	s.mu.Unlock()
	if news {
		d.bus().Missed(s.name, i.id, i.epoch)
	}
}

// away passes over a target that takes no connection. Where nobody asks for its health, it is tried again after a while.
func (d *Dispatcher) away(i *instance) {
	if d.dead(i, "it takes no connection") && i.target.health == "" {
		d.spawn(func() {
			if d.pause(awayTime) {
				d.back(i)
			}
		})
	}
}

// post sends the call to a target, on a goroutine of its own, of which there are no more than the service may have in flight.
func (x *call) post() {
	if !x.dispatcher.spawn(func() { x.posted(x.roundTrip()) }) {
		x.at.sent.Add(-1)
		x.refused(errNotSent)
	}
}

// roundTrip posts the call, and returns an answer such as instances give that are reached over NATS.
func (x *call) roundTrip() (contracts.Answer, error) {
	ctx, cancel := context.WithDeadline(x.dispatcher.ctx, x.deadline)
	defer cancel()
	data := x.task[len(x.task)-1-x.data : len(x.task)-1]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.at.target.url, bytes.NewReader(data))
	if err != nil {
		return contracts.Answer{}, err
	}
	// Every value has an alphabet that is safe in a header.
	h := req.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "beeline")
	h.Set("Beeline-Client", string(x.client))
	h.Set("Beeline-Session", string(x.session))
	h.Set("Beeline-Request-Id", strconv.FormatUint(x.id, 10))
	h.Set("Beeline-Timeout-Ms", strconv.FormatInt(max(1, time.Until(x.deadline).Milliseconds()), 10))
	if x.key != "" {
		h.Set("Beeline-Key", string(x.key))
	}
	resp, err := x.dispatcher.http.Do(req)
	if err != nil {
		return contracts.Answer{}, err
	}
	defer resp.Body.Close()
	most := int64(x.dispatcher.cfg.MaxAnswer)
	if resp.ContentLength > most {
		return contracts.Answer{}, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return contracts.Answer{}, err
	case int64(len(body)) > most:
		return contracts.Answer{}, errTooLarge
	}
	return readHTTP(resp.StatusCode, body)
}

var (
	errTooLarge = errors.New("the answer is too large")
	errStatus   = errors.New("no status of an answer")
)

// readHTTP makes an answer of an HTTP response: 2xx with the data, or an error, whose body may say which.
func readHTTP(status int, body []byte) (contracts.Answer, error) {
	body = bytes.TrimSpace(body)
	if status/100 == 2 {
		if len(body) == 0 {
			body = []byte("null")
		}
		return contracts.ReadAnswer(contracts.AppendAnswer(nil, contracts.Answer{Data: body}))
	}
	if a, ok := errorIn(body); ok {
		return a, nil
	}
	var code contracts.Code
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		code = contracts.CodeForbidden
	case http.StatusTooManyRequests:
		code = contracts.CodeRateLimited
	case http.StatusServiceUnavailable:
		code = contracts.CodeUnavailable
	default:
		switch status / 100 {
		case 4:
			code = contracts.CodeBadRequest
		case 5:
			code = contracts.CodeInternal
		default: // a redirection, above all: nobody is followed elsewhere
			return contracts.Answer{}, errStatus
		}
	}
	return contracts.Answer{Error: &contracts.Error{Code: code, Message: "the service answered with HTTP status " + strconv.Itoa(status)}}, nil
}

// errorIn tells whether a body is an answer with an error, and returns it.
func errorIn(body []byte) (contracts.Answer, bool) {
	a, err := contracts.ReadAnswer(body)
	return a, err == nil && a.Error != nil
}

// posted takes what became of a post.
func (x *call) posted(a contracts.Answer, err error) {
	i := x.at
	i.sent.Add(-1)
	var dial *net.OpError
	switch {
	case err == nil && a.Error != nil:
		x.went(a.Error.Code != contracts.CodeInternal)
		x.finish(contracts.CallFailed, nil, a.Error)
	case err == nil:
		x.went(true)
		x.finish(contracts.CallAnswered, a.Data, nil)
	case errors.Is(err, errTooLarge):
		x.went(false)
		x.finish(contracts.CallGarbage, nil, errLarge)
	case errors.Is(err, contracts.ErrInvalidAnswer), errors.Is(err, errStatus):
		x.went(false)
		x.finish(contracts.CallGarbage, nil, errGarbage)
	case errors.As(err, &dial) && dial.Op == "dial": // nobody has it
		x.dispatcher.away(i)
		x.again(errNotSent)
	case errors.Is(err, context.DeadlineExceeded):
		x.timedOut()
	default: // the connection broke, and what was done is not known
		x.went(false)
		x.lost()
	}
}
