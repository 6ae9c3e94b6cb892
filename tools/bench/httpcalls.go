package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Proxy is a proxy that balances HTTP requests over the instances of a service.
type Proxy struct {
	Name   string       // in the results
	URL    string       // what is asked of it
	Source usage.Source // its processes, the workers too
}

// Names of the proxies that calls over HTTP are compared with.
const (
	HAProxy = "haproxy"
	Nginx   = "nginx"
)

// HTTPCalls is calls of a service whose instances are HTTP servers, and the same requests to the same instances through proxies, turn about.
// Each way has as many under way at a time, for as long. Through a proxy each of these has a connection of its own, which is kept alive,
// for HTTP/1.1 has no other way; the generator does nothing but write and read.
type HTTPCalls struct{ Calls }

var _ Work = HTTPCalls{}

// Validate says what is wrong.
func (h HTTPCalls) Validate(env Env) error {
	return errors.Join(h.Calls.Validate(env), roomFor(h.underWay()))
}

func (h HTTPCalls) underWay() int { return h.Connections * h.Window }

// Run takes one way after the other, in each round beginning with another. env.Servers is what is charged for the calls.
func (h HTTPCalls) Run(ctx context.Context, env Env) (*Result, error) {
	all := newResult()
	ways := append([]Proxy{{}}, env.Proxies...) // the first is by the edges
	for i := range ways {
		way := ways[(env.Round+i)%len(ways)]
		r, err := h.watched(ctx, env, way)
		if err != nil {
			return nil, err
		}
		all.add(way.Name, r)
	}
	for _, p := range env.Proxies {
		if own, their := all.Figures["cpu_us_per_call"], all.Figures["cpu_us_per_call."+p.Name]; own > 0 && their > 0 {
			all.Figures["ratio_to_"+p.Name] = own / their
		}
	}
	return all, nil
}

// watched goes one way, and sees to it that connections to the instances are kept.
func (h HTTPCalls) watched(ctx context.Context, env Env, way Proxy) (*Result, error) {
	before, err := env.Accepted(ctx)
	if err != nil {
		return nil, err
	}
	r, err := h.take(ctx, env, way)
	if err != nil {
		return nil, err
	}
	after, err := env.Accepted(ctx)
	if err != nil {
		return nil, err
	}
	// All that is under way may be at any of the instances, and some connections may end by chance.
	if made := after - before; made > uint64(2*h.Instances*h.underWay())+r.Sent/10 {
		r.broke("connections to the instances were not kept: %d for %d requests", made, r.Sent)
	}
	return r, nil
}

// add adds what a way has shown: that of a proxy under its name.
func (r *Result) add(proxy string, way *Result) {
	r.Sent += way.Sent
	for outcome, n := range way.Outcomes {
		r.Outcomes[outcome] += n
	}
	for _, sentence := range way.Broken {
		if proxy != "" {
			sentence = proxy + ": " + sentence
		}
		r.broke("%s", sentence)
	}
	for name, v := range way.Figures {
		switch {
		case proxy == "":
			r.Figures[name] = v
		case !strings.Contains(name, "."):
			r.Figures[name+"."+proxy] = v
		}
	}
	if proxy == "" {
		r.Timeline = way.Timeline
	}
}

// take goes one way.
func (h HTTPCalls) take(ctx context.Context, env Env, way Proxy) (*Result, error) {
	if way.Name == "" {
		return h.Calls.Run(ctx, env)
	}
	env.Servers, env.Profile = []usage.Process{{Name: way.Name, Source: way.Source}}, nil
	posters, err := h.dial(ctx, way)
	defer func() {
		for _, x := range posters {
			_ = x.conn.Close()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", way.Name, err)
	}
	m := newMeter(h.Warm, h.For, false)
	var waiting sync.WaitGroup
	for _, x := range posters {
		waiting.Go(func() { x.run(m) })
	}
	charged, err := env.measure(ctx, m, h.Name()+" through "+way.Name)
	if err != nil { // nobody waits for answers any more
		for _, x := range posters {
			_ = x.conn.Close()
		}
	}
	waiting.Wait()
	if err != nil {
		return nil, err
	}
	r, got := newResult(), m.read()
	for _, x := range posters {
		r.account(x.sent, x.outcomes)
	}
	r.called(got, charged)
	return r, nil
}

// dial makes as many connections to a proxy as there are requests under way. The caller closes those that there are, after an error too.
func (h HTTPCalls) dial(ctx context.Context, way Proxy) ([]*poster, error) {
	u, err := url.Parse(way.URL)
	if err != nil {
		return nil, err
	}
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: beeline bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		u.RequestURI(), u.Host, h.Size, h.data())
	var all []*poster
	for n := range h.underWay() {
		conn, err := (&net.Dialer{Timeout: connectTime}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return all, err
		}
		all = append(all, &poster{conn: conn, number: n, request: request, size: h.Size})
	}
	return all, nil
}

// poster is one connection, on which one request after the other is answered. It belongs to its goroutine.
type poster struct {
	conn     net.Conn
	number   int
	request  []byte
	size     int // of an answer's data
	sent     uint64
	outcomes tally
}

// postTime bounds the wait for the last answer.
const postTime = time.Minute

// run posts until the measured part is over, or an answer is not what it must be; once at least.
func (x *poster) run(m *meter) {
	from := bufio.NewReader(x.conn)
	_ = x.conn.SetDeadline(m.start.Add(time.Duration(m.measured.to) + postTime)) // else a read fails by itself
	for {
		due := m.now()
		x.sent++
		outcome := x.post(from)
		x.outcomes.add(outcome)
		if outcome != answeredCall {
			return
		}
		now := m.now()
		m.arrived(x.number, due, now)
		if now >= m.measured.to {
			return
		}
	}
}

// post makes one request, and returns what became of it.
func (x *poster) post(from *bufio.Reader) string {
	if _, err := x.conn.Write(x.request); err != nil {
		return noAnswer
	}
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		return noAnswer
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	switch {
	case err != nil:
		return noAnswer
	case response.StatusCode != http.StatusOK:
		return fmt.Sprint("status ", response.StatusCode)
	case n != int64(x.size):
		return "another answer"
	}
	return answeredCall
}
