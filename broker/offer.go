package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/beeline-rt/beeline/contracts"
)

// ErrPayload is returned for what is more than the NATS server takes in one message, its max_payload.
var ErrPayload = errors.New("more than NATS takes in one message")

// OfferConfig says what is offered. All who offer the same share what is asked for.
type OfferConfig struct {
	Name        string // of the service, for micro
	Description string
	Metadata    map[string]string
	Subjects    map[string]contracts.Subject // of each endpoint
	// Handle is called for one request to an endpoint after the other, and must not block.
	Handle func(endpoint string, r *Request)
}

// Offer answers requests of programs over NATS. It is registered with micro, so that `nats micro list` and whoever else knows that finds it.
type Offer struct {
	conn    *Conn
	service micro.Service
}

// Request is what was asked.
type Request struct {
	Header map[string][]string // with their names as they were written
	Data   []byte

	conn  *Conn
	reply string
}

// offerGroup is the queue group of those who offer the same.
const offerGroup = "offer"

const pendingRequests = 1 << 10 // of one endpoint; nats.go drops what is more, and whoever asked has no answer

// Offer has requests answered, of those that want to be told in an inbox. It returns when the server knows it.
func (c *Conn) Offer(ctx context.Context, cfg OfferConfig) (*Offer, error) {
	service, err := micro.AddService(c.nc, micro.Config{
		Name: cfg.Name, Version: serviceVersion, Description: cfg.Description, Metadata: cfg.Metadata, QueueGroup: offerGroup,
	})
	if err != nil {
		return nil, fmt.Errorf("register service %s: %w", cfg.Name, err)
	}
	for endpoint, subject := range cfg.Subjects {
		err := service.AddEndpoint(endpoint, micro.HandlerFunc(func(q micro.Request) {
			if isInbox(q.Reply()) { // else nobody wants to know
				cfg.Handle(endpoint, &Request{Header: q.Headers(), Data: q.Data(), conn: c, reply: q.Reply()})
			}
		}), micro.WithEndpointSubject(string(subject)), micro.WithEndpointPendingLimits(pendingRequests, pendingBytes))
		if err != nil {
			_ = service.Stop()
			return nil, fmt.Errorf("subscribe %s: %w", subject, err)
		}
	}
	if err := c.settle(ctx); err != nil {
		_ = service.Stop()
		return nil, fmt.Errorf("subscribe service %s: %w", cfg.Name, err)
	}
	return &Offer{c, service}, nil
}

// isInbox tells whether a subject is one to answer to: none of Beeline's or NATS's own. Whoever may ask could else have this node write
// wherever it may, and they not.
func isInbox(reply string) bool { return strings.HasPrefix(reply, "_") }

// Close takes no more requests, and returns when the server knows it. What has come is still handed over, and can be answered. ctx bounds it.
func (o *Offer) Close(ctx context.Context) {
	if o.service.Stopped() {
		return
	}
	_ = o.service.Stop() // fails without a connection only, by which nothing would come
	o.conn.part(ctx)
}

// Answer answers, once, from any goroutine. The error is [ErrPayload] when the answer was not sent for its size, else there is no connection.
func (r *Request) Answer(header map[string][]string, data []byte) error {
	// Not by micro: it takes no answer from another goroutine than its own.
	err := r.conn.nc.PublishMsg(&nats.Msg{Subject: r.reply, Header: header, Data: data})
	if errors.Is(err, nats.ErrMaxPayload) {
		return ErrPayload
	}
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// Refused adds to the headers of an answer what tells micro's clients that it is an error.
func Refused(header map[string][]string, code, words string) {
	header[micro.ErrorHeader], header[micro.ErrorCodeHeader] = []string{words}, []string{code}
}

// Request asks one of those who [Conn.Offer], once. It returns the headers and the body of the answer. The error is [ErrNobody], or says that there
// was no answer before ctx was over, or no connection.
func (c *Conn) Request(ctx context.Context, to contracts.Subject, header map[string][]string, data []byte) (map[string][]string, []byte, error) {
	m, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: string(to), Header: header, Data: data})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, nil, fmt.Errorf("ask %s: %w", to, ErrNobody)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, nil, fmt.Errorf("ask %s: %w", to, ErrPayload)
	case err != nil:
		return nil, nil, fmt.Errorf("ask %s: %w", to, err)
	}
	return m.Header, m.Data, nil
}
