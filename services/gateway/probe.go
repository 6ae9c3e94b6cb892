package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	probeTime  = 5 * time.Second        // until a question is given up; a late answer, too, is one
	mostAsked  = 2                      // questions at a time to one instance: the second takes another connection
	cutSpread  = 100 * time.Millisecond // over which the clients of an instance are cut off
	maxReadyz  = 1 << 10                // of an answer that is read, to keep its connection
	readyzPath = "/readyz"
)

// probes asks instances whether they are ready, all of them by one loop. What it knows is bounded by the fleet, and by clients.
type probes struct {
	g    *Gateway
	http *http.Transport
	work sync.WaitGroup // questions, and clients being cut off; only the loop adds

	held bool // owned by the loop: it does not act, since too many are silent

	mu sync.Mutex
	m  map[contracts.Peer]*pulse // guarded by mu
}

// Probe asks each instance every Config.Probe whether it is ready, until ctx ends; it returns when nothing of it runs any more.
// One that says no, or leaves two questions in a row unanswered, gets new clients only when no other takes them. When from the
// first of these on not one byte came for its clients either, it hangs: they are cut off, to come back through its alternate. But
// if more than half of the instances are silent, it is rather this gateway or the network, and nobody is cut off.
func (g *Gateway) Probe(ctx context.Context) {
	if g.cfg.Probe == 0 {
		return
	}
	p := &g.probes
	p.http = &http.Transport{
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			return p.dial(ctx, address, false)
		},
		DialTLSContext: func(_ context.Context, _, address string) (net.Conn, error) {
			return p.dial(ctx, address, true)
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        probeTime + g.cfg.Probe,
		MaxResponseHeaderBytes: maxHead,
	}
	defer p.http.CloseIdleConnections()
	defer p.work.Wait()
	tick := time.NewTicker(g.cfg.Probe)
	defer tick.Stop()
	for last := time.Now(); ; {
		now := time.Now()
		// One that stood still itself, or gets no processor, finds answers late that were not.
		late := now.Sub(last) > g.cfg.Probe+g.cfg.Probe/2
		last = now
		p.round(ctx, g.o.Fleet.Instances(), late)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// of returns the pulse of an instance, which is in the fleet now; nil when none are taken.
func (p *probes) of(peer contracts.Peer) *pulse {
	if p.g.cfg.Probe == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.m[peer]
	if x == nil {
		x = &pulse{peer: peer}
		p.m[peer] = x
	}
	return x
}

// unfit tells whether others are to be preferred for new clients.
func (p *probes) unfit(peer contracts.Peer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.m[peer]
	return x != nil && x.unfit()
}

// round judges all instances, and asks them again. When it is late, nobody's silence until now counts.
func (p *probes) round(ctx context.Context, fleet []contracts.Instance, late bool) {
	asked, silent := 0, 0
	var hung []*pulse
	for _, x := range p.known(fleet) {
		if x.address == "" {
			continue
		}
		if x.look() {
			p.g.metrics.probeFailures.Inc()
		}
		if late {
			x.silent = 0
		}
		x.judge(p.g.log)
		asked++
		if x.silent > 0 {
			silent++
		}
		if x.silent >= suspicious {
			hung = append(hung, x)
		}
		p.ask(ctx, x)
	}
	held := len(hung) > 0 && 2*silent > asked
	if held && !p.held {
		p.g.metrics.cutsHeld.Inc()
		p.g.log.Warn("gateway: more than half of the instances are silent at once; their clients are not cut off",
			slog.Int("instances", asked), slog.Int("silent", silent))
	}
	if p.held = held; held {
		return
	}
	for _, x := range hung {
		p.cut(ctx, x)
	}
}

// known returns what is known of the instances of the fleet, and of those that have left it and have clients yet: one that hangs
// loses its lease, perhaps before it is found. The others are forgotten.
func (p *probes) known(fleet []contracts.Instance) (all []*pulse) {
	there := make(map[contracts.Peer]struct{}, len(fleet))
	for _, i := range fleet {
		there[i.Peer] = struct{}{}
		p.of(i.Peer).address = readyz(i.Load.URL)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for peer, x := range p.m {
		if _, ok := there[peer]; !ok && x.relays.Load() == 0 {
			delete(p.m, peer)
			continue
		}
		all = append(all, x)
	}
	return all
}

// cut ends the clients of an instance that hangs; those too that came while others were.
func (p *probes) cut(ctx context.Context, x *pulse) {
	if !x.cut {
		x.cut = true
		p.g.metrics.instancesCut.Inc()
		p.g.log.Warn("gateway: an instance hangs; its clients are cut off, to come back through its alternates",
			slog.String("node", string(x.peer.Node)), slog.Int64("clients", x.relays.Load()))
	}
	if x.relays.Load() == 0 {
		return
	}
	var all []*relay
	p.g.mu.Lock()
	for r := range p.g.relays {
		if r.from == x && !r.ending {
			r.ending = true
			all = append(all, r)
		}
	}
	p.g.mu.Unlock()
	p.g.metrics.clientsCut.Add(float64(len(all)))
	if len(all) > 0 {
		p.work.Go(func() { cutOver(ctx, all, cutSpread) })
	}
}

// ask sends a question, unless as many as may wait for an answer.
func (p *probes) ask(ctx context.Context, x *pulse) {
	if x.asking.Load() >= mostAsked {
		return
	}
	address := x.address
	x.asked = true
	x.asking.Add(1)
	p.work.Go(func() {
		defer x.asking.Add(-1)
		ctx, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		status, err := p.get(ctx, address)
		switch {
		case err == nil:
			x.unready.Store(status == http.StatusServiceUnavailable)
			x.answer.Store(true)
		case ctx.Err() == nil && !isTimeout(err):
			x.broken.Store(&err)
		}
	})
}

// get asks. Any answer but 503 is that of an instance that lives.
func (p *probes) get(ctx context.Context, address string) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	answer, err := p.http.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxReadyz))
	return answer.StatusCode, nil
}

// dial connects to an instance; if it demands to be told who the client is, it is told that there is none.
func (p *probes) dial(ctx context.Context, address string, secure bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := p.g.o.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	var header bytes.Buffer
	if p.g.cfg.Proxy {
		_, _ = proxyproto.HeaderProxyFromAddrs(2, nil, nil).WriteTo(&header)
	}
	if secure {
		return p.g.encrypt(ctx, conn, address, header.Bytes())
	}
	if _, err := header.WriteTo(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// readyz is where an instance is asked; empty if it has no address that a gateway can use.
func readyz(address string) string {
	u, err := url.Parse(address)
	if err != nil || defaultPorts[u.Scheme] == "" || u.Host == "" {
		return ""
	}
	return (&url.URL{Scheme: "http" + strings.TrimPrefix(u.Scheme, "ws"), Host: u.Host, Path: readyzPath}).String()
}
