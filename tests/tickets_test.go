package tests

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/contracts/tickettest"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// recorder dials, and remembers where to.
type recorder struct {
	mu     sync.Mutex
	dialed []string
}

func (r *recorder) dial(ctx context.Context, network, address string) (net.Conn, error) {
	r.mu.Lock()
	r.dialed = append(r.dialed, address)
	r.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, address)
}

// take returns where was dialled since it was last asked.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.dialed
	r.dialed = nil
	return all
}

// upgrade is a client's request.
func upgrade(target string, headers ...string) string {
	return "GET " + target + " HTTP/1.1\r\n" + strings.Join(append([]string{
		"Host: gateway.example", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
		"Sec-WebSocket-Protocol: " + contracts.Subprotocol,
	}, headers...), "\r\n") + "\r\n\r\n"
}

// say sends bytes to a server, and returns the status of its answer; 0 if it ended the connection without one.
func say(t *testing.T, server, bytes string) int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(fleet.Patience))
	_, _ = conn.Write([]byte(bytes)) // the server may have heard enough before the end
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// guarded is a gateway in front of a fleet, whose dials are recorded, and the addresses that it may dial.
func guarded(t *testing.T) (gateway string, r *recorder, known map[string]bool) {
	t.Helper()
	f := fleet.New(t, 2)
	r = &recorder{}
	g := startGateway(t, f, func(c *gatewayserver.Config) { c.Dial, c.Gateway.Probe = r.dial, 0 })
	fleet.Eventually(t, "the gateway knows instances", func() bool {
		status, _ := request(t, "GET", g.AdminURL()+"/readyz", "")
		return status == 200
	})
	known = map[string]bool{}
	for _, n := range f.Nodes {
		u, err := url.Parse(n.URL())
		if err != nil {
			t.Fatal(err)
		}
		known[u.Host] = true
	}
	u, err := url.Parse(g.URL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Host, r, known
}

func TestHostileTicketsReachNobodyThroughAGateway(t *testing.T) {
	t.Parallel()
	gateway, dials, known := guarded(t)
	good, hostile := tickettest.Hostile(fleet.TicketSecrets(t), time.Now())
	for _, h := range hostile {
		status := say(t, gateway, upgrade("/v1/ws?"+h.Query))
		if status != 0 && status != 400 && status != 401 && status != 414 && status != 431 {
			t.Errorf("%s: %d", h.Name, status)
		}
		if all := dials.take(); len(all) > 0 {
			t.Errorf("%s: the gateway dialled %v", h.Name, all)
		}
	}
	// The good one that they are made of is good, so it is not for something else that they were refused; and then it is used.
	if status := say(t, gateway, upgrade("/v1/ws?"+good)); status != 101 {
		t.Errorf("the good one: %d", status)
	}
	if all := dials.take(); len(all) != 1 || !known[all[0]] {
		t.Errorf("the good one: the gateway dialled %v", all)
	}
	for range 3 {
		if status := say(t, gateway, upgrade("/v1/ws?"+good)); status != 401 {
			t.Errorf("replayed: %d", status)
		}
	}
	if all := dials.take(); len(all) > 0 {
		t.Errorf("replayed: the gateway dialled %v", all)
	}
	t.Logf("%d hostile tickets: no dial", len(hostile)+1)
}

func TestTicketLetsOneOfManyIn(t *testing.T) {
	t.Parallel()
	gateway, dials, _ := guarded(t)
	good, _ := tickettest.Hostile(fleet.TicketSecrets(t), time.Now())
	var (
		all sync.WaitGroup
		mu  sync.Mutex
		got = map[int]int{}
	)
	for range 20 {
		all.Go(func() {
			status := say(t, gateway, upgrade("/v1/ws?"+good))
			mu.Lock()
			defer mu.Unlock()
			got[status]++
		})
	}
	all.Wait()
	if n := len(dials.take()); n != 1 || got[101] != 1 || got[401] != 19 {
		t.Errorf("one ticket, used 20 times at once: %v, %d dials", got, n)
	}
}

// With a ticket that is good, nothing else that a client says has a part in where the gateway dials.
func TestNothingButTheFleetSaysWhereAGatewayDials(t *testing.T) {
	t.Parallel()
	gateway, dials, known := guarded(t)
	secrets := fleet.TicketSecrets(t)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // would be there if it were dialled
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	evil := ln.Addr().String()
	ticket := func(c contracts.ClusterName, k contracts.PlacementKey) string {
		return secrets.Sign(contracts.Ticket{Cluster: c, Key: k, Client: "ann", Expires: time.Now().Add(contracts.TicketLife), Nonce: contracts.NewTicketNonce()})
	}
	good := func() string { return "/v1/ws?" + ticket("a", "room") }
	for name, test := range map[string]struct {
		request string
		let     bool // in, to an instance of the fleet
	}{
		"nothing else":                     {upgrade(good()), true},
		"an absolute target":               {upgrade("http://" + evil + good()), true},
		"an absolute target, another path": {upgrade("http://" + evil + "/x?" + ticket("a", "room")), false},
		"a user in the target":             {upgrade("http://gateway.example@" + evil + good()), true},
		"two slashes":                      {upgrade("//" + evil + good()), false},
		"a path that climbs":               {upgrade("/v1/ws/../../" + evil + "?" + ticket("a", "room")), false},
		"an encoded path":                  {upgrade("/v1/ws%2f..%2f" + evil + "?" + ticket("a", "room")), false},
		"another host":                     {strings.Replace(upgrade(good()), "gateway.example", evil, 1), true},
		"two hosts":                        {upgrade(good(), "Host: "+evil), false},
		"forwarded headers":                {upgrade(good(), "X-Forwarded-Host: "+evil, "Forwarded: host="+evil, "X-Forwarded-For: "+evil, "X-Real-IP: 10.0.0.1", "X-Original-URL: http://"+evil), true},
		"as a gateway":                     {upgrade(good(), "Beeline-Gateway: "+evil), true},
		"as a gateway, to another cluster": {upgrade("/v1/ws?"+ticket("b", "room"), "Beeline-Gateway: "+evil), false},
		"a cluster that nobody knows":      {upgrade("/v1/ws?" + ticket("zzz", "room")), true},
		"an address as the key":            {upgrade("/v1/ws?" + ticket("a", contracts.PlacementKey(evil))), true},
		"a host as the key":                {upgrade("/v1/ws?" + ticket("a", "evil.example")), true},
		"CONNECT":                          {"CONNECT " + evil + " HTTP/1.1\r\nHost: " + evil + "\r\n\r\n", false},
		"another method":                   {strings.Replace(upgrade(good()), "GET", "POST", 1), false},
		"a body":                           {upgrade(good(), "Content-Length: 5") + "hello", false},
		"a body in chunks":                 {upgrade(good(), "Transfer-Encoding: chunked") + "0\r\n\r\n", false},
		"two lengths":                      {upgrade(good(), "Content-Length: 0", "Content-Length: 5"), false},
		"no upgrade":                       {fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", good()), false},
		"a folded header":                  {upgrade(good(), "X-A: b\r\n GET http://"+evil+"/ HTTP/1.1"), true},
		"a bare line feed":                 {upgrade(good(), "X-A: b\nX-B: c"), true},
		"a PROXY header":                   {"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + upgrade(good()), false},
		"too many headers":                 {upgrade(good(), "X-A: "+strings.Repeat("a", 2<<20)), false},
	} {
		status := say(t, gateway, test.request)
		if (status == 101) != test.let {
			t.Errorf("%s: %d", name, status)
		}
		for _, address := range dials.take() {
			if !known[address] {
				t.Errorf("%s: the gateway dialled %s", name, address)
			}
		}
	}
}
