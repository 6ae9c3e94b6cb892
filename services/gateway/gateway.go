// Package gateway takes clients in with a ticket and connects each to the instance where it belongs. It reads the ticket and
// the head of the upgrade; bytes then pass both ways untouched. A ticket names a cluster and a key, never a host: where to
// dial comes from the fleet's own reports and from configuration, and from nowhere else.
package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/contracts"
)

// Tickets verifies the query of a client's URL.
type Tickets interface {
	Verify(query string, now time.Time) (contracts.Ticket, error)
}

// Fleet knows the instances of this gateway's cluster.
type Fleet interface {
	// Instances lists those that live, with what they last reported.
	Instances() []contracts.Instance
}

// Order sorts instances for a key: the first is where it belongs, the next its alternate. Every gateway must use the same.
type Order func(key contracts.PlacementKey, instances []contracts.Instance) []contracts.Instance

// Config says how a gateway behaves; start from [DefaultConfig].
type Config struct {
	Cluster contracts.ClusterName
	// Peers are the gateways of other clusters, as host:port: clients whose ticket names one of these are passed on there.
	Peers map[contracts.ClusterName][]string
	// TCPPeers are the same gateways, where they take clients in over raw TCP.
	TCPPeers map[contracts.ClusterName][]string
	// EdgeRoots are the authorities that the certificates of instances may be from which report wss:// or tls://. nil: those of
	// the system.
	EdgeRoots *x509.CertPool
	// Proxy has instances and peers told the client's address with a PROXY protocol header (version 2). They must trust this
	// gateway to.
	Proxy bool

	MaxConnections int           // proxied at a time; more are refused with 503
	AnswerTime     time.Duration // for an instance to accept the connection, TLS included, and answer the upgrade, before the next is tried
	StallTime      time.Duration // for a side to take what is written to it, at least; at most half as much more
	Probe          time.Duration // between two questions to an instance whether it is ready, see [Gateway.Probe]; 0: none is asked
}

// DefaultConfig returns settings for production.
func DefaultConfig() Config {
	return Config{
		Cluster: "a", MaxConnections: 100_000, AnswerTime: 250 * time.Millisecond, StallTime: 20 * time.Second,
		// An instance that hangs is found within three of these; with 200 ms its clients, who come back within a second of that
		// (the registry's back-off), are elsewhere within two.
		Probe: 200 * time.Millisecond,
	}
}

// ErrConfig is wrapped by the errors of [Config.Validate].
var ErrConfig = errors.New("gateway configuration")

// Options are what a gateway is made of besides its configuration.
type Options struct {
	Tickets Tickets
	Fleet   Fleet
	Order   Order
	// Dial connects to an instance or a peer; nil: the network.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger // nil: nothing is logged
}

// Gateway proxies clients. It is safe for concurrent use.
type Gateway struct {
	cfg      Config
	o        Options
	log      *slog.Logger
	used     nonces
	outliers outliers
	probes   probes
	metrics  *metrics

	open     atomic.Int64   // requests under way, and clients over raw TCP that are not joined with an instance yet
	refusing atomic.Int64   // clients over raw TCP who are told that nobody is let in
	work     sync.WaitGroup // they, and relays; nothing is added from outside once it drains

	mu       sync.Mutex
	draining bool                  // guarded by mu
	relays   map[*relay]struct{}   // guarded by mu
	entering map[net.Conn]struct{} // guarded by mu: over raw TCP, not joined with an instance yet
}

// New returns a gateway. cfg must be valid.
func New(cfg Config, o Options) *Gateway {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	g := &Gateway{
		cfg: cfg, o: o, log: o.Logger, used: nonces{most: maxNonces},
		relays: map[*relay]struct{}{}, entering: map[net.Conn]struct{}{},
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.probes.g, g.probes.m = g, map[contracts.Peer]*pulse{}
	g.metrics = newMetrics(g)
	return g
}

// hopHeader says that a gateway of another cluster has passed the client on, so that none does a second time.
const hopHeader = "Beeline-Gateway"

// refusal is why a client is not let in.
type refusal struct {
	status int
	reason string
}

// ServeHTTP takes a client in, or says why not.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	no := &refusal{http.StatusServiceUnavailable, "this gateway is stopping"}
	if g.enter(nil) {
		defer g.work.Done()
		defer g.open.Add(-1)
		no = g.serve(w, r, g.open.Add(1))
	}
	if no == nil {
		return
	}
	g.metrics.refused.WithLabelValues(http.StatusText(no.status)).Inc()
	if no.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Connection", "close") // who is not let in holds no connection open either
	http.Error(w, no.reason, no.status)
}

// enter counts a request, or a client over raw TCP, unless the gateway drains: then there is nobody left to wait for it.
func (g *Gateway) enter(client net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return false
	}
	g.work.Add(1)
	if client != nil {
		g.entering[client] = struct{}{}
	}
	return true
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, open int64) *refusal {
	if no := g.full(open); no != nil {
		return no
	}
	switch {
	case r.Method != http.MethodGet:
		return &refusal{http.StatusMethodNotAllowed, "an upgrade is a GET"}
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return &refusal{http.StatusBadRequest, "an upgrade has no body"}
	}
	now := time.Now()
	t, no := g.verify(r.URL.RawQuery, now)
	if no != nil {
		return no
	}
	up, no := g.place(t, now, func() (*upstream, *refusal) { return g.passOn(r, t) }, func() (*upstream, *refusal) {
		return g.reach(r.Context(), t, func(l contracts.Load) string { return l.URL }, func(address string) (*upstream, *refusal, error) {
			return g.try(r, address, r.URL.EscapedPath(), g.cfg.AnswerTime)
		})
	})
	return g.join(w, up, no)
}

// full says why nobody is let in now; open is how many are being let in.
func (g *Gateway) full(open int64) *refusal {
	if open+int64(g.Connections()) > int64(g.cfg.MaxConnections) {
		return &refusal{http.StatusServiceUnavailable, "this gateway is full"}
	}
	return nil
}

// verify reads a ticket.
func (g *Gateway) verify(query string, now time.Time) (contracts.Ticket, *refusal) {
	t, err := g.o.Tickets.Verify(query, now)
	switch {
	case errors.Is(err, contracts.ErrTicketMalformed):
		return t, &refusal{http.StatusBadRequest, err.Error()}
	case err != nil:
		return t, &refusal{http.StatusUnauthorized, err.Error()}
	}
	return t, nil
}

// place connects to where a ticket belongs: by passOn to another cluster or, if it is of this one or that returns neither, by reach.
func (g *Gateway) place(t contracts.Ticket, now time.Time, passOn, reach func() (*upstream, *refusal)) (*upstream, *refusal) {
	if t.Cluster != g.cfg.Cluster {
		if up, no := passOn(); up != nil || no != nil {
			return up, no
		}
	}
	switch fresh, room := g.used.take(t.Nonce, now); {
	case !room:
		return nil, &refusal{http.StatusServiceUnavailable, "this gateway takes no more clients within this minute"}
	case !fresh:
		return nil, &refusal{http.StatusUnauthorized, "the ticket was used before"}
	}
	up, no := reach()
	if up == nil {
		g.used.giveBack(t.Nonce) // nobody was reached with it
	}
	return up, no
}

// join connects the client with its instance.
func (g *Gateway) join(w http.ResponseWriter, up *upstream, no *refusal) *refusal {
	if up == nil {
		return no
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = up.conn.Close()
		return &refusal{http.StatusInternalServerError, "the connection cannot be taken over"}
	}
	_ = client.SetDeadline(time.Time{}) // the server's
	if p, ok := client.(*proxyproto.Conn); ok {
		if tcp, ok := p.TCPConn(); ok { // it holds nothing back: the request was read through it
			client = tcp
		}
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	g.start(client, up, append([]byte(nil), early...))
	return nil
}

// Connections is how many clients are proxied now.
func (g *Gateway) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.relays)
}

// drainStep is between two batches of clients that are cut off.
const drainStep = 10 * time.Millisecond

// Drain takes no new clients, and ends those there are evenly spread over a time; when ctx is over, all that are left. It
// returns when all have ended, and the requests that were under way: those, too, whose instance takes AnswerTime not to answer.
func (g *Gateway) Drain(ctx context.Context, over time.Duration) {
	g.mu.Lock()
	g.draining = true // who comes from here on is refused, and who was under way is cut off as it begins to relay
	all := make([]*relay, 0, len(g.relays))
	for r := range g.relays { // in no order
		all = append(all, r)
	}
	g.mu.Unlock()
	cutOver(ctx, all, over)
	g.mu.Lock()
	for client := range g.entering {
		_ = client.Close()
	}
	g.mu.Unlock()
	g.work.Wait()
}

// cutOver ends relays evenly spread over a time; when ctx is over, all that are left.
func cutOver(ctx context.Context, all []*relay, over time.Duration) {
	begin, tick := time.Now(), time.NewTicker(drainStep)
	defer tick.Stop()
	for ended := 0; ended < len(all); {
		due := len(all)
		if passed := time.Since(begin); passed < over && ctx.Err() == nil {
			due = int(float64(len(all)) * float64(passed) / float64(over))
		}
		for ; ended < due; ended++ {
			all[ended].cut()
		}
		if ended == len(all) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
