package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// proxiedSystem is an edge with what it needs, and the proxies in front of it, each a process.
type proxiedSystem struct {
	self    selfSystem
	gateway *edgeChild
	haproxy *relay
	ways    []bench.Way
}

// start starts it. What was started when it fails is for stop.
func (s *proxiedSystem) start(ctx context.Context, command []string, c *benchGatewayCmd) (bench.Env, error) {
	env := bench.Env{Driver: bench.Beeline{}, Command: command}
	if err := s.self.start(ctx, 1, command, false); err != nil {
		return env, err
	}
	edge := s.self.edges[0]
	env.Servers = []usage.Process{{Name: edge.name, Source: usage.PID(edge.pid)}}
	s.ways = append(s.ways, bench.Way{Name: "direct", URL: edge.url})
	through, err := s.startHAProxy(ctx, c.HAProxy, edge.url, c.Connections+2*c.Pairs)
	if err != nil {
		return env, err
	}
	s.ways = append(s.ways, bench.Way{Name: bench.TheirWay, URL: through, Proxy: usage.PID(s.haproxy.pid)})
	own, err := s.startGateway(ctx, command[0], c.Profile)
	if err != nil {
		return env, err
	}
	s.ways = append(s.ways, own)
	return env, s.reachable(ctx)
}

// startGateway starts a gateway, with a key of its own, by which the clients' tickets are signed.
func (s *proxiedSystem) startGateway(ctx context.Context, program, profile string) (bench.Way, error) {
	way := bench.Way{Name: bench.OwnWay}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	key := base64.StdEncoding.EncodeToString(raw)
	secrets, err := contracts.ParseTicketSecrets(key)
	if err != nil {
		return way, err
	}
	args := []string{
		"gateway", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--redis-addr", s.self.redis.addr, "--ticket-key", "base64:" + key,
		"--drain-time", "0s", "--answer-time", "5s", "--profiles", "--log-level", "warn",
	}
	if s.gateway, err = startEdgeChild(ctx, bench.OwnWay, program, args); err != nil {
		return way, err
	}
	way.URL, way.Proxy = s.gateway.url, usage.PID(s.gateway.pid)
	way.Query = func(client string) string {
		return secrets.Sign(contracts.Ticket{
			Cluster: "a", Key: contracts.PlacementKey(client), Client: contracts.ClientID(client),
			Expires: time.Now().Add(contracts.TicketLife), Nonce: contracts.NewTicketNonce(),
		})
	}
	if profile != "" {
		way.Profile = func(ctx context.Context, d time.Duration) error {
			return saveProfiles(ctx, profile, map[string]string{bench.OwnWay: s.gateway.admin}, d)
		}
	}
	return way, nil
}

// startHAProxy starts HAProxy in TCP mode, as its manual has it for connections that last, and returns the address through it.
func (s *proxiedSystem) startHAProxy(ctx context.Context, path, edge string, connections int) (string, error) {
	u, err := url.Parse(edge)
	if err != nil {
		return "", err
	}
	at, err := freeAddress()
	if err != nil {
		return "", err
	}
	conf := fmt.Sprintf("global\n  maxconn %d\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"+
		"frontend clients\n  bind %s\n  default_backend edges\nbackend edges\n  server a1 %s\n", connections+100, at, u.Host)
	s.haproxy, err = startRelay(ctx, relayRequest{Program: path, Args: []string{"-db", "-f", relayConf}, Conf: conf, Address: at})
	if err != nil {
		return "", fmt.Errorf("start HAProxy: %w", err)
	}
	u.Host = at
	return u.String(), nil
}

// reachable waits until a client gets to the edge on every way.
func (s *proxiedSystem) reachable(ctx context.Context) error {
	for _, way := range s.ways {
		err := until(ctx, nil, func() error {
			l := bench.Login{URL: way.URL, Client: "bench-probe"}
			if way.Query != nil {
				l.URL += "?" + way.Query(l.Client)
			}
			conn, err := bench.Beeline{}.Dial(ctx, l)
			if err == nil {
				err = conn.Cut()
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("the edge is not reached by way of %s: %w", way.Name, err)
		}
	}
	return nil
}

// stop ends the proxies, then what is behind them.
func (s *proxiedSystem) stop(ctx context.Context) error {
	var errs []error
	if s.gateway != nil {
		errs = append(errs, s.gateway.stop(ctx))
	}
	if s.haproxy != nil {
		errs = append(errs, s.haproxy.stop(ctx))
	}
	return errors.Join(append(errs, s.self.stop(ctx))...)
}
