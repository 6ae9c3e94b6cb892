package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/proc"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// httpCalls says how a service is called whose instances are HTTP servers, and what proxies balance the same requests over them.
type httpCalls struct {
	haproxy, nginx string // the programs
	underWay       int    // requests, at a time
	size           int    // of the data, in bytes
}

// httpSystem is the instances, the edges that call them, and the proxies in front of them, each a process.
type httpSystem struct {
	instances []*proc.Part
	hosts     []string // of the instances
	relays    []*proc.Part
	edges     *target
}

// openHTTP starts a system of its own for calls over HTTP. After an error nothing of it is left.
func (f *benchFlags) openHTTP(ctx context.Context, command []string) (*target, error) {
	s := &httpSystem{}
	if err := s.start(ctx, command, f); err != nil {
		return nil, errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	t := *s.edges
	t.stop, t.env.Accepted = s.stop, s.accepted
	return &t, nil
}

func (s *httpSystem) start(ctx context.Context, command []string, f *benchFlags) error {
	addresses, err := s.startInstances(ctx, command, f.instances)
	if err != nil {
		return err
	}
	services, err := json.Marshal(map[string]any{f.service: map[string]any{"http": addresses}})
	if err != nil {
		return err
	}
	if s.edges, err = startSelf(ctx, f.Edges, command, f.Profile != "", "--services", string(services)); err != nil {
		return err
	}
	for _, start := range []func() (relayRequest, error){
		func() (relayRequest, error) { return haproxyHTTP(f.http, s.hosts) },
		func() (relayRequest, error) { return nginxHTTP(f.http, s.hosts) },
	} {
		r, err := start()
		if err != nil {
			return err
		}
		if err := s.startRelay(ctx, command, r); err != nil {
			return err
		}
	}
	return nil
}

// startInstances starts the HTTP servers, and returns their addresses.
func (s *httpSystem) startInstances(ctx context.Context, command []string, n int) (addresses []string, err error) {
	for range n {
		p, err := proc.Start(ctx, command, bench.HTTPPart)
		if err != nil {
			return nil, err
		}
		s.instances = append(s.instances, p)
		var at bench.HTTPInstance
		if err := p.Call(ctx, struct{}{}, &at); err != nil {
			return nil, err
		}
		u, err := url.Parse(at.URL)
		if err != nil {
			return nil, err
		}
		addresses, s.hosts = append(addresses, at.URL), append(s.hosts, u.Host)
	}
	return addresses, nil
}

// startRelay starts a proxy that somebody else wrote.
func (s *httpSystem) startRelay(ctx context.Context, command []string, r relayRequest) error {
	p, err := proc.Start(ctx, command, relayPart)
	if err != nil {
		return err
	}
	s.relays = append(s.relays, p)
	var got relayAnswer
	if err := p.Call(ctx, r, &got); err != nil {
		return err
	}
	s.edges.env.Proxies = append(s.edges.env.Proxies, bench.Proxy{Name: r.Name, URL: "http://" + r.Address + "/rpc", Source: usage.Family(got.PID)})
	return nil
}

// accepted asks the instances how many connections they have accepted.
func (s *httpSystem) accepted(ctx context.Context) (sum uint64, err error) {
	for _, p := range s.instances {
		var at bench.HTTPInstance
		if err := p.Call(ctx, struct{}{}, &at); err != nil {
			return 0, err
		}
		sum += at.Accepted
	}
	return sum, nil
}

// stop ends those who call the instances, then these.
func (s *httpSystem) stop(ctx context.Context) (err error) {
	for _, p := range s.relays {
		p.Stop()
	}
	if s.edges != nil {
		err = s.edges.stop(ctx)
	}
	for _, p := range slices.Backward(s.instances) {
		p.Stop()
	}
	return err
}

// freeAddress is one of this machine that nobody listened on a moment ago.
func freeAddress() (string, error) {
	port, err := freePort()
	return net.JoinHostPort(localhost, strconv.Itoa(port)), err
}

// haproxyHTTP is HAProxy in HTTP mode, with as many threads as there are processors, as it does by itself. Connections are kept on both
// sides, and any request may use any that is free. Without tune it would keep none as soon as a fifth of its files are open, which it reckons by
// maxconn: it would be measured connecting.
func haproxyHTTP(h *httpCalls, instances []string) (relayRequest, error) {
	at, err := freeAddress()
	var conf strings.Builder
	fmt.Fprintf(&conf, "global\n  maxconn %d\n  tune.pool-low-fd-ratio 100\n  tune.pool-high-fd-ratio 100\n"+
		"defaults\n  mode http\n  option http-keep-alive\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  timeout http-keep-alive 1h\n"+
		"frontend clients\n  bind %s\n  default_backend instances\n"+
		"backend instances\n  balance roundrobin\n  http-reuse always\n", h.underWay*(1+len(instances))+100, at)
	for i, host := range instances {
		fmt.Fprintf(&conf, "  server i%d %s\n", i+1, host)
	}
	return relayRequest{Name: bench.HAProxy, Program: h.haproxy, Args: []string{"-db", "-f", relayConf}, Conf: conf.String(), Address: at}, err
}

// nginxHTTP is nginx with as many workers as there are processors, and no log of what is asked. Connections are kept on both sides, however
// many requests they have carried; what is posted stays in memory.
func nginxHTTP(h *httpCalls, instances []string) (relayRequest, error) {
	at, err := freeAddress()
	idle := h.underWay * len(instances) // all may be at any of them: fewer would be closed, and made anew
	var conf strings.Builder
	fmt.Fprintf(&conf, "daemon off;\nworker_processes auto;\npid nginx.pid;\nevents { worker_connections %d; }\nhttp {\n", h.underWay+idle+100)
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "  %s_temp_path %s;\n", what, what) // not where the administrator's has them
	}
	fmt.Fprintf(&conf, "  access_log off;\n  client_max_body_size 0;\n  client_body_buffer_size %d;\n  proxy_max_temp_file_size 0;\n"+
		"  keepalive_timeout 1h;\n  keepalive_requests 1000000000;\n  upstream instances {\n", max(h.size, 16<<10))
	for _, host := range instances {
		fmt.Fprintf(&conf, "    server %s;\n", host)
	}
	fmt.Fprintf(&conf, "    keepalive %d;\n    keepalive_requests 1000000000;\n    keepalive_timeout 1h;\n  }\n  server {\n    listen %s;\n"+
		"    location / { proxy_pass http://instances; proxy_http_version 1.1; proxy_set_header Connection \"\"; }\n  }\n}\n", idle, at)
	return relayRequest{Name: bench.Nginx, Program: h.nginx, Args: []string{"-p", ".", "-c", relayConf, "-e", "stderr"}, Conf: conf.String(), Address: at}, err
}
