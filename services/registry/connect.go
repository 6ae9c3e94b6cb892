package registry

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// maxEndpoints bounds the addresses of an answer: the primary and three alternates.
const maxEndpoints = 4

// connect answers a request of a client that was let in.
func (r *Registry) connect(now time.Time, req contracts.ConnectionRequest) (contracts.Connection, *contracts.Error) {
	policy, known := r.cfg.Classes[class(req)]
	if !known {
		return contracts.Connection{}, refusal(contracts.CodeBadRequest, "there is no such class of requests")
	}
	if req.Transport == "" {
		req.Transport = contracts.WebSocket
	}
	if !r.serves(req.Transport) {
		return contracts.Connection{}, refusal(contracts.CodeBadRequest, "this registry knows no gateway for the transport "+string(req.Transport))
	}
	key, order, err := r.place(now, policy, req)
	if err != nil {
		return contracts.Connection{}, refusal(contracts.CodeUnavailable, err.Error())
	}
	expires := now.Add(contracts.TicketLife).Truncate(time.Second)
	answer := contracts.Connection{
		Client: req.Client, Alternates: []contracts.Endpoint{},
		ExpiresAt: expires.Unix(), ExpiresIn: int(contracts.TicketLife / time.Second), Backoff: r.cfg.Backoff,
	}
	for i, e := range r.endpoints(order, req.Transport) {
		// Each has a ticket of its own: who reads one may take it only once.
		e.URL += "?" + r.opts.Secrets.Sign(contracts.Ticket{
			Cluster: e.Cluster, Key: key, Client: req.Client, Expires: expires, Nonce: contracts.NewTicketNonce(),
		})
		if i == 0 {
			answer.Primary = e
		} else {
			answer.Alternates = append(answer.Alternates, e)
		}
	}
	return answer, nil
}

// serves tells whether there is anywhere to send clients of a transport; of instances, that is for the board to say.
func (r *Registry) serves(over contracts.Transport) bool {
	return r.cfg.Direct || slices.ContainsFunc(r.cfg.Gateways, func(g Gateway) bool { return contracts.TransportOf(g.URL) == over })
}

func class(req contracts.ConnectionRequest) string {
	if req.Class == "" {
		return DefaultClass
	}
	return req.Class
}

// place chooses the instances for a request, and their key.
func (r *Registry) place(now time.Time, policy Policy, req contracts.ConnectionRequest) (contracts.PlacementKey, []target, error) {
	key := req.Key
	if key == "" && policy == LeastConnections {
		zone := req.Zone
		if zone == "" {
			zone = r.cfg.Zone
		}
		return r.board.byLoad(now, zone, req.Transport)
	}
	if key == "" {
		key = contracts.PlacementKey(req.Client) // of the same alphabet
	}
	order, err := r.board.byKey(now, key, req.Transport)
	return key, order, err
}

// endpoints returns the addresses to connect to over a transport: the instances' own, in their order; or those of gateways, all of
// which lead to the cluster of the first instance, its own first.
func (r *Registry) endpoints(order []target, over contracts.Transport) []contracts.Endpoint {
	var all []contracts.Endpoint
	if r.cfg.Direct {
		for _, t := range order[:min(len(order), maxEndpoints)] {
			all = append(all, contracts.Endpoint{URL: t.url, Cluster: t.cluster})
		}
		return all
	}
	// Chance shares the clients out among gateways that are alike.
	gateways := slices.Clone(r.cfg.Gateways)
	rand.Shuffle(len(gateways), func(i, j int) { gateways[i], gateways[j] = gateways[j], gateways[i] })
	cluster := order[0].cluster
	for _, home := range []bool{true, false} {
		for _, g := range gateways {
			if (g.Cluster == cluster) == home && contracts.TransportOf(g.URL) == over && len(all) < maxEndpoints {
				all = append(all, contracts.Endpoint{URL: g.URL, Cluster: cluster})
			}
		}
	}
	return all
}

// admit tells whether a client may connect: its number is valid, on the list if there is one, and nobody objects.
func (r *Registry) admit(ctx context.Context, req contracts.ConnectionRequest) *contracts.Error {
	if r.opts.Allowed != nil && !r.opts.Allowed.Has(req.Client) {
		return refusal(contracts.CodeForbidden, "this client is not on the list of those who may connect")
	}
	if r.opts.Arbiter == nil {
		return nil
	}
	yes, err := r.opts.Arbiter.Allows(ctx, "connect", string(req.Client), string(req.Key))
	switch {
	case err != nil:
		r.metrics.arbiterErrors.Inc()
		r.log.DebugContext(ctx, "registry: the hook gave no answer", slog.Any("error", err))
		return refusal(contracts.CodeUnavailable, "whether this client may connect could not be found out")
	case !yes:
		return refusal(contracts.CodeForbidden, "this client may not connect")
	}
	return nil
}

func refusal(code contracts.Code, message string) *contracts.Error {
	return &contracts.Error{Code: code, Message: message}
}
