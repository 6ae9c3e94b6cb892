package tests

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/registryserver"
	"github.com/beeline-rt/beeline/services/token"
	"github.com/beeline-rt/beeline/tests/fleet"
)

const backendKey = "the-key-of-a-backend"

// stopAtEnd stops a server with the test.
func stopAtEnd(t *testing.T, s interface{ Stop(context.Context) error }) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), fleet.Patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

// startRegistry starts a registry of a fleet, as it ships, that sends clients to the edges themselves.
func startRegistry(t *testing.T, f *fleet.Fleet, change ...func(*registryserver.Config)) *registryserver.Server {
	t.Helper()
	sum := sha256.Sum256([]byte(backendKey))
	cfg := registryserver.DefaultConfig()
	cfg.Redis = f.Redis.Config()
	cfg.Redis.Timeout = 2 * time.Second
	cfg.Listen, cfg.Admin = "127.0.0.1:0", "127.0.0.1:0"
	cfg.TicketKeys = []string{base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))}
	cfg.APIKeys = []string{hex.EncodeToString(sum[:])}
	cfg.Registry.Direct, cfg.Registry.Rate, cfg.Registry.Poll = true, 0, 50*time.Millisecond
	for _, c := range change {
		c(&cfg)
	}
	s, err := registryserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, s)
	return s
}

// callers close their connections, of which a test must leave none.
var callers = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: fleet.Patience}

// request asks over HTTP, and returns the status and the body.
func request(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := callers.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// assigned asks as a backend for a client's addresses.
func assigned(t *testing.T, s *registryserver.Server, body string) contracts.Connection {
	t.Helper()
	status, text := request(t, "POST", s.URL()+"/v1/connections", body, "Beeline-Api-Key: "+backendKey)
	var c contracts.Connection
	if err := json.Unmarshal([]byte(text), &c); status != 200 || err != nil {
		t.Fatalf("%d %s: %v", status, text, err)
	}
	return c
}

// enter connects a client to an address of the registry's.
func enter(t *testing.T, url string, name contracts.ClientID) *fleet.Client {
	t.Helper()
	c, status, err := fleet.ConnectURL(t, url, nil, nil)
	if err != nil {
		t.Fatalf("%s: %d, %v", url, status, err)
	}
	c.Login(name)
	return c
}

func TestClientsAskTheRegistryConnectAndTalk(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	one, other := startRegistry(t, f), startRegistry(t, f)
	ready := func(s *registryserver.Server) bool {
		status, _ := request(t, "GET", s.AdminURL()+"/readyz", "")
		return status == 200
	}
	fleet.Eventually(t, "the registries are ready", func() bool { return ready(one) && ready(other) })
	fleet.Eventually(t, "both nodes are known", func() bool { return len(assigned(t, one, `{"client":"x"}`).Alternates) == 1 })

	// A room meets on one instance, whichever registry is asked.
	alice := enter(t, assigned(t, one, `{"client":"alice","key":"room-1"}`).Primary.URL, "alice")
	bob := enter(t, assigned(t, other, `{"client":"bob","key":"room-1"}`).Primary.URL, "bob")
	if alice.Ready.Node != bob.Ready.Node {
		t.Errorf("alice is on %s, bob on %s", alice.Ready.Node, bob.Ready.Node)
	}
	// And its alternate is the other one, from where everybody is reached too.
	carol := enter(t, assigned(t, one, `{"client":"carol","key":"room-1"}`).Alternates[0].URL, "carol")
	if carol.Ready.Node == alice.Ready.Node {
		t.Errorf("the alternate is the primary: %s", carol.Ready.Node)
	}
	for _, from := range []*fleet.Client{alice, carol} {
		if got := from.Send("bob", `1`); got != "delivered" {
			t.Errorf("%s: %s", from.Name, got)
		}
		bob.Expect(from.Name, `1`)
	}
	// Without a key they are spread. (Evenly but for those who asked and did not come, and what the other registry did.)
	on := map[contracts.NodeID]int{}
	for _, name := range []contracts.ClientID{"d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8"} {
		c := enter(t, assigned(t, one, `{"client":"`+string(name)+`"}`).Primary.URL, name)
		on[c.Ready.Node]++
	}
	if on[alice.Ready.Node] < 2 || on[carol.Ready.Node] < 2 {
		t.Errorf("eight clients are on %v", on)
	}
}

func TestRegistryFollowsAnInstanceThatStopsAndOneThatIsFull(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, fleet.Configure(func(c *node.Config) {
		if c.Node == "a3" {
			c.Edge.MaxSessions, c.Edge.MaxAnonymous = 1, 1
		}
	}))
	s := startRegistry(t, f)
	reached := func() map[contracts.NodeID]bool {
		nodes := map[contracts.NodeID]bool{}
		first := assigned(t, s, `{"client":"x","key":"k"}`)
		for _, e := range append(first.Alternates, first.Primary) {
			for _, n := range f.Nodes {
				if strings.HasPrefix(e.URL, n.URL()+"?") {
					nodes[n.ID] = true
				}
			}
		}
		return nodes
	}
	fleet.Eventually(t, "all are known", func() bool { return len(reached()) == 3 })
	f.Dial(2, "somebody")
	fleet.Eventually(t, "the full one is not given to anybody", func() bool { return !reached()["a3"] })
	f.Nodes[0].Stop(t)
	if got := reached(); got["a1"] { // its lease and report are gone; the registry may be a poll behind
		fleet.Eventually(t, "the one that stopped is not given to anybody", func() bool { return !reached()["a1"] })
	}
	if got := reached(); !got["a2"] {
		t.Errorf("the one that is fit is not there: %v", got)
	}
}

func TestRegistryHoldsOnWhenRedisIsEmptied(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	s := startRegistry(t, f, func(c *registryserver.Config) { c.Registry.Poll = 10 * time.Millisecond })
	fleet.Eventually(t, "all are known", func() bool { return len(assigned(t, s, `{"client":"x"}`).Alternates) == 2 })
	if err := f.Redis.Client(t).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	held := false
	for start := time.Now(); time.Since(start) < contracts.LeaseRenewal+time.Second; {
		if got := len(assigned(t, s, `{"client":"x"}`).Alternates); got != 2 {
			t.Fatalf("%d alternates after Redis was emptied", got)
		}
		if status, text := request(t, "GET", s.AdminURL()+"/readyz", ""); status != 200 {
			t.Fatal(text)
		} else if strings.Contains(text, "was missing at once") {
			held = true
		}
	}
	_, metrics := request(t, "GET", s.AdminURL()+"/metrics", "")
	if !held || strings.Contains(metrics, "beeline_registry_updates_refused_total 0\n") {
		t.Error("the registry did not say so")
	}
	if !strings.Contains(metrics, `beeline_registry_update_held{cluster="a"} 0`) {
		t.Error("the update is held though the nodes are back")
	}
}

func TestClientsWithTokensGetTicketsOfTheirOwn(t *testing.T) {
	t.Parallel()
	private, public, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "login.pub")
	if err := os.WriteFile(path, public, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := token.NewKey("", token.EdDSA, private)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.Issue(key, token.Claims{Client: "alice", Expires: time.Now().Add(time.Hour)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := fleet.New(t, 1)
	s := startRegistry(t, f, func(c *registryserver.Config) { c.TokenKeys = []string{"EdDSA:@" + path} })
	fleet.Eventually(t, "a ticket", func() bool {
		status, text := request(t, "POST", s.URL()+"/v1/connections", "", "Authorization: Bearer "+signed)
		return status == 200 && strings.Contains(text, "&n=alice&")
	})
	for body, want := range map[string]int{`{"client":"bob"}`: 403, `{`: 400, strings.Repeat("x", 5000): 413} {
		if status, text := request(t, "POST", s.URL()+"/v1/connections", body, "Authorization: Bearer "+signed); status != want {
			t.Errorf("%.20s: %d %s", body, status, text)
		}
	}
	if status, text := request(t, "POST", s.URL()+"/v1/connections", "", "Authorization: Bearer "+signed+"x"); status != 401 || strings.Contains(text, signed) {
		t.Errorf("%d %s", status, text)
	}
}
