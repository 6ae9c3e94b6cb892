// Package node wires broker, presence, token and edge into one process: one node of a cluster. It is the only package
// that knows both sides of their interfaces. The node that a test runs is the node that ships: both come from [Start].
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/across"
	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/calls"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/hook"
	"github.com/beeline-rt/beeline/services/httpserver"
	"github.com/beeline-rt/beeline/services/presence"
)

// ErrLeaseLost ends a node whose lease another process holds: two nodes with one id would take each other's messages.
var ErrLeaseLost = errors.New("another process holds this node's lease: give each node an id of its own")

// Node is a running node. Its methods are safe for concurrent use.
type Node struct {
	// set by Start
	cfg      Config
	log      *slog.Logger
	conn     *broker.Conn
	bus      *broker.Bus
	dir      *presence.Directory
	across   *across.Directory // that and those of the other clusters
	reply    *broker.Responder // to them; nil: there are none
	edge     *edge.Edge
	calls    *calls.Dispatcher
	callBus  *broker.Calls
	hook     *hook.Hook         // nil: none
	events   *hook.Events       // nil: nobody is told
	api      *api.API           // nil: none
	offer    *broker.Offer      // of it, over NATS; nil: none
	endAPI   context.CancelFunc // ends what is done for backends
	registry *prometheus.Registry
	http     *httpserver.Server
	cancel   context.CancelFunc
	watching sync.WaitGroup
	serving  atomic.Bool // clients can connect

	stop    sync.Once
	stopped chan struct{}
}

// Start validates the configuration, connects to NATS and Redis, takes the node's lease, and serves clients. It returns
// when clients can connect. An error says what is wrong and what to do; nothing is left running then.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, stopped: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.log = n.log.With(slog.String("cluster", string(cfg.Cluster)), slog.String("node", string(cfg.Node)))
	n.http = httpserver.New(n.log)
	if err := n.start(ctx); err != nil {
		n.abandon(context.WithoutCancel(ctx))
		return nil, err
	}
	return n, nil
}

// newEpoch returns a number that no other start of this node has: the time, and chance for those within a microsecond.
func newEpoch() contracts.Epoch {
	return contracts.Epoch(uint64(time.Now().UnixMicro())<<12 | rand.Uint64N(1<<12))
}

// start does what can fail for a wrong setting first. The lease comes before the subscription: two processes with one id
// must never hear the same messages.
func (n *Node) start(ctx context.Context) error {
	auth, err := newAuthenticator(n.cfg)
	if err != nil {
		return err
	}
	if err := n.listen(ctx); err != nil {
		return err
	}
	var arbiter edge.Arbiter
	if n.cfg.HookURL != "" {
		if n.hook, err = hook.New(hook.Config{URL: n.cfg.HookURL, Secret: n.cfg.HookSecret}); err != nil {
			return fmt.Errorf("%w: hook-url: %w", ErrConfig, err)
		}
		arbiter = n.hook
	}
	epoch := newEpoch()
	news, err := n.startEvents(ctx, epoch)
	if err != nil {
		return err
	}
	if err := n.connect(ctx, epoch); err != nil {
		return err
	}
	n.calls = calls.New(n.cfg.Calls, n.dir, n.log)
	n.edge = edge.New(n.cfg.Edge, edge.Options{
		Cluster: n.cfg.Cluster, Node: n.cfg.Node, Epoch: epoch, Directory: n.across, Auth: auth, Arbiter: arbiter, Logger: n.log,
		News: news, Blip: n.dir.NoticeTime(), Caller: n.calls,
	})
	if n.api, err = n.newAPI(); err != nil {
		return err
	}
	if err := n.dir.Acquire(ctx); err != nil {
		return err
	}
	n.bus, err = broker.OpenBus(ctx, n.conn, broker.BusConfig{
		Cluster: n.cfg.Cluster, Node: n.cfg.Node, Epoch: epoch, AnswerTime: n.cfg.Edge.AckTimeout,
	}, n.edge)
	if err != nil {
		return err
	}
	if n.callBus, err = broker.OpenCalls(ctx, n.conn, n.cfg.Cluster, n.cfg.Node, n.calls, n.edge); err != nil {
		return err
	}
	n.calls.Start(ctx, n.callBus)
	n.across.Start(ctx)
	if len(n.cfg.Peers) > 0 {
		background := context.WithoutCancel(ctx)
		n.reply, err = n.conn.Respond(contracts.PresenceSubject(n.cfg.Cluster), func(question []byte, reply func([]byte)) {
			n.across.Answer(background, question, reply)
		})
		if err != nil {
			return err
		}
	}
	n.edge.Start(ctx, n.bus)
	n.register()
	asked, end := context.WithCancel(context.WithoutCancel(ctx))
	n.endAPI = end
	n.serve(asked)
	if err := n.offerAPI(ctx, asked); err != nil {
		return err
	}
	n.serving.Store(true)
	n.dir.Announce()
	if n.handedOut() == "" {
		n.log.Warn("this node is on every address of its machine, so nobody can be sent to it: set advertise if a registry or a gateway should")
	}
	if n.cfg.TCPListen != "" && n.handedOutTCP() == "" {
		n.log.Warn("this node takes raw TCP on every address of its machine, so no gateway can pass it on here: set tcp-advertise if one should")
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.watching.Go(func() { n.watch(background) })
	return nil
}

func (n *Node) connect(ctx context.Context, epoch contracts.Epoch) error {
	nats := n.cfg.NATS
	nats.Logger = n.log
	if nats.Name == "" {
		nats.Name = "beeline " + string(n.cfg.Node)
	}
	var err error
	if n.conn, err = broker.Connect(ctx, nats); err != nil {
		return err
	}
	n.dir, err = presence.Open(ctx, presence.Config{
		Cluster: n.cfg.Cluster, Node: n.cfg.Node, Epoch: epoch, Redis: n.cfg.Redis,
		LeaseTTL: n.cfg.LeaseTTL, LeaseRenewal: n.cfg.LeaseRenewal, Logger: n.log,
		Report: n.report,
	})
	if err == nil {
		n.across = across.New(n.dir, n.conn, across.Config{
			Cluster: n.cfg.Cluster, Node: n.cfg.Node, Peers: n.cfg.Peers, Nobody: broker.ErrNobody, Logger: n.log,
		})
	}
	return err
}

// watch ends the node when it lost its lease, and reports at once when it is not ready any more, or ready again.
func (n *Node) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.dir.Lost():
			n.http.Fail(ErrLeaseLost)
			return
		case <-n.conn.Changed():
			n.dir.Announce()
		}
	}
}

// URL is the WebSocket address for clients, with the port in use.
func (n *Node) URL() string {
	if n.cfg.Advertise != "" {
		return n.cfg.Advertise
	}
	scheme := "ws://"
	if n.cfg.TLSCert != "" {
		scheme = "wss://"
	}
	return scheme + n.http.Clients.Listener.Addr().String() + ClientPath
}

// TCPURL is the tcp:// or tls:// address for clients over raw TCP, with the port in use, or "" when there is none.
func (n *Node) TCPURL() string {
	switch {
	case n.http.TCP.Listener == nil:
		return ""
	case n.cfg.TCPAdvertise != "":
		return n.cfg.TCPAdvertise
	}
	scheme := "tcp://"
	if n.cfg.TLSCert != "" {
		scheme = "tls://"
	}
	return scheme + n.http.TCP.Listener.Addr().String()
}

// AdminURL is the http address of the admin listener, or "" when there is none.
func (n *Node) AdminURL() string { return n.http.AdminURL() }

// Done is closed when the node cannot go on by itself: its lease was lost to another process, or a listener failed. Err
// says why. The node is still to be stopped.
func (n *Node) Done() <-chan struct{} { return n.http.Done() }

// Err is nil until Done is closed.
func (n *Node) Err() error { return n.http.Err() }

// Stop drains the node: not ready, no new connections, clients are told to move over DrainTime, their records removed,
// then the lease. It returns when all has ended, at the latest StopTime after the drain, or soon after ctx is over. Every
// call waits for the one stop there is; the error is that of ctx.
func (n *Node) Stop(ctx context.Context) error {
	n.stop.Do(func() {
		go func() {
			defer close(n.stopped)
			n.halt(ctx)
		}()
	})
	<-n.stopped
	return ctx.Err()
}

// halt stops in order; each step is bounded.
func (n *Node) halt(ctx context.Context) {
	drain, cancel := context.WithTimeout(ctx, n.cfg.DrainTime+n.cfg.StopTime/2)
	n.edge.Refuse() // readyz says no from here on
	n.dir.Announce()
	n.retireAPI(drain) // which may wait for NATS
	n.edge.Drain(drain, n.cfg.DrainTime)
	cancel()
	n.abandon(ctx)
}

// abandon closes what was started, as far as Start came. Records are removed before the lease, and while NATS and Redis
// can still be reached.
func (n *Node) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.StopTime/2)
	defer cancel()
	n.http.Clients.Close()
	if n.reply != nil {
		n.reply.Close()
	}
	n.http.TCP.Close()
	n.stopAPI(ctx)
	if n.bus != nil {
		n.edge.Close(ctx)
		n.bus.Close()
	}
	if n.callBus != nil {
		n.callBus.Close()
		n.calls.Close()
	}
	if n.hook != nil {
		n.hook.Close()
	}
	if n.events != nil {
		n.watching.Go(func() { n.events.Close(ctx) }) // whose backend may hang: the lease does not wait for it
	}
	if n.dir != nil {
		n.across.Close()
		if err := n.dir.Close(ctx); err != nil {
			n.log.Warn("the lease was not released and runs out by itself", slog.Any("error", err))
		}
	}
	if n.conn != nil {
		n.conn.Close(ctx)
	}
	n.http.Admin.Close()
	if n.cancel != nil {
		n.cancel()
	}
	n.watching.Wait()
	n.http.Wait()
}

// Metrics are what /metrics shows.
func (n *Node) Metrics() prometheus.Gatherer { return n.registry }
