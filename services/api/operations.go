package api

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/beeline-rt/beeline/contracts"
)

// scopes are what a key must have for an operation.
var scopes = map[contracts.BackendOp]Scope{
	contracts.BackendSend: ScopeSend, contracts.BackendBroadcast: ScopeSend, contracts.BackendPublish: ScopePublish,
	contracts.BackendPresence: ScopePresence, contracts.BackendMembers: ScopeMembers, contracts.BackendDisconnect: ScopeDisconnect,
	contracts.BackendTokens: ScopeTokens,
}

func refusal(code contracts.Code, message string) *contracts.Error {
	return &contracts.Error{Code: code, Message: message}
}

func failed(e *contracts.Error) contracts.BackendAnswer { return contracts.BackendAnswer{Error: e} }

func done(ok any) contracts.BackendAnswer { return contracts.BackendAnswer{OK: ok} }

// allowed tells whether a caller may ask for something; of a broadcast, that is found out for each recipient.
func (a *API) allowed(c *request, r *contracts.BackendRequest) *contracts.Error {
	switch {
	case !slices.Contains(c.Scopes, scopes[r.Op]):
		return refusal(contracts.CodeForbidden, "this API key does not have the scope "+string(scopes[r.Op]))
	case r.From != "" && !c.From.Allows(string(r.From)):
		return refusal(contracts.CodeForbidden, "this API key may not send from this name")
	case r.Group != "" && !c.Groups.Allows(string(r.Group)):
		return refusal(contracts.CodeForbidden, "this API key is not for this group")
	case len(r.Data) > a.opts.MaxData:
		return refusal(contracts.CodeTooLarge, "data is larger than a message may be")
	case r.Op == contracts.BackendBroadcast:
		return nil
	}
	for _, client := range r.Clients {
		if !c.Clients.Allows(string(client)) {
			return refusal(contracts.CodeForbidden, "this API key is not for this client")
		}
	}
	return nil
}

// start begins an operation; the function that it returns waits for its end. Only messages go on meanwhile.
func (a *API) start(ctx context.Context, c *request, r *contracts.BackendRequest) func() contracts.BackendAnswer {
	if refused := a.allowed(c, r); refused != nil {
		return func() contracts.BackendAnswer { return failed(refused) }
	}
	switch r.Op {
	case contracts.BackendSend:
		return a.send(ctx, r)
	case contracts.BackendPublish:
		return a.publish(ctx, r)
	case contracts.BackendBroadcast:
		return a.broadcast(ctx, c, r)
	}
	answer := a.carryOut(ctx, c, r)
	return func() contracts.BackendAnswer { return answer }
}

// carryOut does what is no message.
func (a *API) carryOut(ctx context.Context, c *request, r *contracts.BackendRequest) contracts.BackendAnswer {
	if ctx.Err() != nil { // in a batch, when those before it took all the time
		return failed(refusal(contracts.CodeUnavailable, "there was no time left for it, try again"))
	}
	switch r.Op {
	case contracts.BackendPresence:
		return a.presence(ctx, r)
	case contracts.BackendMembers:
		page, more, problem := a.opts.Edge.MembersOf(r.Members)
		if problem != nil {
			return failed(problem)
		}
		return done(contracts.MembersAnswer{Members: append([]contracts.ClientID{}, page...), More: more})
	case contracts.BackendDisconnect:
		n, problem := a.opts.Edge.Disconnect(ctx, r.Clients[0], r.Session, r.Close)
		a.opts.Logger.Info("api: sessions were ended", slog.String("request", c.id), slog.String("key", c.Name), slog.String("client", string(r.Clients[0])), slog.Int("sessions", n))
		if problem != nil {
			return failed(problem)
		}
		return done(contracts.DisconnectAnswer{Disconnected: n})
	case contracts.BackendTokens:
		return a.issue(c, r)
	}
	return failed(refusal(contracts.CodeInternal, "this operation is not known here"))
}

func (a *API) issue(c *request, r *contracts.BackendRequest) contracts.BackendAnswer {
	if a.opts.Issuer == nil {
		return failed(refusal(contracts.CodeForbidden, "this server has no key to make tokens with"))
	}
	token, problem := a.opts.Issuer.Issue(r.Clients[0], r.Token)
	if problem != nil {
		return failed(problem)
	}
	a.opts.Logger.Info("api: a token was made", slog.String("request", c.id), slog.String("key", c.Name), slog.String("client", string(r.Clients[0])))
	return done(token)
}

func (a *API) presence(ctx context.Context, r *contracts.BackendRequest) contracts.BackendAnswer {
	where, problem := a.opts.Edge.Where(ctx, r.Clients)
	if problem != nil {
		return failed(problem)
	}
	answer := contracts.PresenceAnswer{Clients: make([]contracts.ClientPresence, len(r.Clients))}
	for i, client := range r.Clients {
		p := contracts.ClientPresence{Client: client, Online: len(where[i]) > 0, Sessions: []contracts.SessionOnNode{}}
		for _, e := range where[i] {
			cluster, node := e.Node.Split(a.opts.Cluster)
			p.Sessions = append(p.Sessions, contracts.SessionOnNode{
				Session: e.Session, Node: node, Cluster: cluster, Device: e.Device, SinceMS: e.Since.UnixMilli(),
			})
		}
		answer.Clients[i] = p
	}
	return done(answer)
}

func (a *API) send(ctx context.Context, r *contracts.BackendRequest) func() contracts.BackendAnswer {
	wait := a.post(ctx, r.From, []contracts.Address{r.Clients[0].Address()}, r.Data)
	return func() contracts.BackendAnswer {
		o := wait()[0]
		if o.outcome != contracts.Delivered {
			return failed(problemOf(o.outcome))
		}
		return done(contracts.SendAnswer{Status: o.outcome})
	}
}

func (a *API) publish(ctx context.Context, r *contracts.BackendRequest) func() contracts.BackendAnswer {
	wait := a.post(ctx, r.From, []contracts.Address{r.Group.Address()}, r.Data)
	return func() contracts.BackendAnswer {
		o := wait()[0]
		if o.outcome != contracts.Sent {
			return failed(problemOf(o.outcome))
		}
		return done(contracts.PublishAnswer{Status: o.outcome, Nodes: o.nodes})
	}
}

// broadcast sends to each recipient that the key is for.
func (a *API) broadcast(ctx context.Context, c *request, r *contracts.BackendRequest) func() contracts.BackendAnswer {
	outcomes := make(map[contracts.ClientID]contracts.Outcome, len(r.Clients))
	var clients []contracts.ClientID
	var to []contracts.Address
	for _, client := range r.Clients {
		if !c.Clients.Allows(string(client)) {
			outcomes[client] = contracts.Forbidden
			continue
		}
		clients, to = append(clients, client), append(to, client.Address())
	}
	wait := a.post(ctx, r.From, to, r.Data)
	return func() contracts.BackendAnswer {
		for i, o := range wait() {
			outcomes[clients[i]] = o.outcome
		}
		return done(contracts.BroadcastAnswer{Outcomes: outcomes})
	}
}

// end is what became of one message.
type end struct {
	outcome contracts.Outcome
	nodes   int // of one to a group
}

// post sends messages; the function that it returns waits for what became of them, but not longer than ctx.
func (a *API) post(ctx context.Context, from contracts.ClientID, to []contracts.Address, data []byte) func() []end {
	var (
		mu   sync.Mutex
		ends = make([]end, len(to)) // guarded by mu, as is left
		left = len(to)
		all  = make(chan struct{})
	)
	if left == 0 {
		close(all)
	}
	a.opts.Edge.Post(from, to, data, func(i int, o contracts.Outcome, nodes int) {
		mu.Lock()
		defer mu.Unlock()
		ends[i] = end{o, nodes}
		if left--; left == 0 {
			close(all)
		}
	})
	return func() []end {
		select {
		case <-all:
		case <-ctx.Done():
		}
		mu.Lock()
		defer mu.Unlock()
		known := slices.Clone(ends) // what comes later is for nobody
		for i := range known {
			if known[i].outcome == "" {
				known[i].outcome = contracts.Unknown
			}
		}
		return known
	}
}

// problemOf is the error that says how a message ended, as a client is told it.
func problemOf(o contracts.Outcome) *contracts.Error {
	switch o {
	case contracts.Offline:
		return refusal(contracts.CodeOffline, "the recipient is not connected")
	case contracts.Unavailable:
		return refusal(contracts.CodeUnavailable, "the message was not sent, try again")
	}
	return refusal(contracts.CodeUnknown, "no answer in time: the message may or may not have arrived")
}
