// Package api serves backends: programs that send to clients, ask for them and disconnect them, over HTTP or NATS, with an API key. It
// checks who asks and what they may; what is then done, the edge does. openapi.yaml is its description, for people and programs.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
)

// Edge does what backends ask for. Errors are safe to show.
type Edge interface {
	// Post sends data from a name to addresses. It does not wait: done is called once for each, on any goroutine, and does not
	// wait either.
	Post(from contracts.ClientID, to []contracts.Address, data []byte, done func(i int, o contracts.Outcome, nodes int))
	// Where returns the sessions of each client.
	Where(ctx context.Context, clients []contracts.ClientID) ([][]contracts.Entry, *contracts.Error)
	// MembersOf returns a page of who is in a group, and whether there may be more.
	MembersOf(q contracts.MembersQuery) (page []contracts.ClientID, more bool, problem *contracts.Error)
	// Disconnect ends the sessions of a client, or one, and returns how many it has ended.
	Disconnect(ctx context.Context, client contracts.ClientID, only contracts.SessionID, code contracts.CloseCode) (int, *contracts.Error)
}

// Issuer makes tokens. Its error is safe to show.
type Issuer interface {
	Issue(client contracts.ClientID, grant contracts.TokenGrant) (contracts.TokenAnswer, *contracts.Error)
}

// Permissions tells which ids something is allowed for.
type Permissions interface{ Allows(id string) bool }

// Scope is what an API key may be used for. A broadcast is a send.
type Scope string

// The scopes.
const (
	ScopeSend       Scope = "send"
	ScopePublish    Scope = "publish"
	ScopePresence   Scope = "presence"
	ScopeMembers    Scope = "members"
	ScopeDisconnect Scope = "disconnect"
	ScopeTokens     Scope = "tokens"
)

// Scopes lists them all.
var Scopes = []Scope{ScopeSend, ScopePublish, ScopePresence, ScopeMembers, ScopeDisconnect, ScopeTokens}

// Key is an API key, and what it may be used for.
type Key struct {
	Name    string // for logs
	Hash    apikey.Hash
	Scopes  []Scope
	From    Permissions // names that it may send and publish as
	Clients Permissions // clients that it may send to, ask for, disconnect and make tokens for
	Groups  Permissions // groups that it may publish to and ask for the members of
	Rate    float64     // operations per second; a broadcast or a question about clients is as many as it has clients. 0: [DefaultRate]
	Burst   int         // operations at once after it was quiet. 0: [DefaultBurst]
}

// What a key may do that does not say. There is no key without a limit: a backend that has gone wild is not to delay clients.
const (
	DefaultRate  = 1000                   // operations per second, on each edge
	DefaultBurst = contracts.MaxBroadcast // operations
)

// Options are what an API works with.
type Options struct {
	Cluster contracts.ClusterName // of the edge
	Keys    []Key
	Edge    Edge
	Issuer  Issuer // nil: no tokens are made
	Answers Answers
	MaxData int // largest `data` of a message, in bytes
	Logger  *slog.Logger
}

// API answers backends. It is safe for concurrent use.
type API struct {
	opts     Options
	hashes   []apikey.Hash
	callers  []*caller // as hashes
	metrics  *metrics
	underWay atomic.Int64 // requests

	mu     sync.Mutex
	closed bool           // guarded by mu: nothing is taken any more
	taken  sync.WaitGroup // requests that [API.Take] has taken
}

// caller is one API key, and what it has done.
type caller struct {
	Key
	limiter  *rate.Limiter
	names    *rate.Limiter // of bytes for requests with an Idempotency-Key
	underWay atomic.Int64  // requests
}

// request is who asks, and what the request is called.
type request struct {
	*caller
	id string
}

const (
	maxUnderWay = 256             // requests at a time, which bounds their bodies: 256 MiB
	maxOfKey    = maxUnderWay / 2 // of one API key: those whose bodies are slow are not to keep out the others'
)

// New returns an API. The keys are valid.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{opts: o, metrics: newMetrics()}
	for _, k := range o.Keys {
		k.Rate, k.Burst = cmp.Or(k.Rate, DefaultRate), cmp.Or(k.Burst, DefaultBurst)
		c := &caller{Key: k, limiter: rate.NewLimiter(rate.Limit(k.Rate), k.Burst), names: newNames()}
		a.hashes, a.callers = append(a.hashes, k.Hash), append(a.callers, c)
	}
	return a
}
