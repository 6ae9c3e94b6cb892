package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// alsoTCP has instances take raw TCP.
func alsoTCP(all ...contracts.Instance) []contracts.Instance {
	for i := range all {
		all[i].Load.TCP = "tls://" + string(all[i].Node) + ".example:9000"
	}
	return all
}

// addresses are all of an answer, without their tickets, which are checked.
func addresses(t *testing.T, c contracts.Connection, client contracts.ClientID) (all []string) {
	t.Helper()
	for _, e := range append([]contracts.Endpoint{c.Primary}, c.Alternates...) {
		address, query, _ := strings.Cut(e.URL, "?")
		ticket, err := secretsOf(t).Verify(query, time.Now())
		if err != nil || ticket.Client != client || ticket.Cluster != e.Cluster {
			t.Fatalf("%s: %+v, %v", e.URL, ticket, err)
		}
		all = append(all, address)
	}
	return all
}

func TestClientsGetTheGatewaysOfTheirTransport(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.Gateways = []Gateway{
		{"a", "wss://a.example/v1/ws"}, {"b", "tls://b.example:9000"}, {"b", "ws://b.example/v1/ws"}, {"a", "tls://a.example:9000"}, {"a", "tls://a2.example:9000"},
	}
	r := begin(t, cfg, Options{Fleets: of(alsoTCP(readies("a", 2)...)...)})
	for range 20 {
		for _, over := range []contracts.Transport{"", contracts.WebSocket} {
			answer, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c", Transport: over})
			if got := fmt.Sprint(addresses(t, answer, "c")); refused != nil || got != "[wss://a.example/v1/ws ws://b.example/v1/ws]" {
				t.Errorf("over %q: %s, %v", over, got, refused)
			}
		}
		answer, refused := r.connect(time.Now(), contracts.ConnectionRequest{Client: "c", Transport: contracts.RawTCP})
		if refused != nil {
			t.Fatal(refused)
		}
		got := addresses(t, answer, "c")
		if len(got) != 3 || !strings.HasPrefix(got[0], "tls://a") || !strings.HasPrefix(got[1], "tls://a") || got[0] == got[1] || got[2] != "tls://b.example:9000" {
			t.Errorf("over raw TCP: %s", got)
		}
	}
}

func TestNodeThatTakesNoTCPIsNotChosenForIt(t *testing.T) {
	t.Parallel()
	all := append(readies("a", 2), alsoTCP(ready("a3", 1000), ready("a4", 1000))...) // which load alone would not choose
	through := DefaultConfig()
	through.Gateways = []Gateway{{"a", "tls://g.example:9000"}}
	behind := begin(t, through, Options{Fleets: of(all...)})
	past := begin(t, direct(), Options{Fleets: of(all...)})
	on := map[string]int{}
	for i := range 200 {
		req := contracts.ConnectionRequest{Client: contracts.ClientID(fmt.Sprint("c", i)), Transport: contracts.RawTCP}
		if i%2 == 0 {
			req.Key = contracts.PlacementKey(fmt.Sprint("room-", i))
		}
		answer, refused := past.connect(time.Now(), req)
		if refused != nil {
			t.Fatal(refused)
		}
		got := addresses(t, answer, req.Client)
		if len(got) != 2 {
			t.Errorf("%s", got)
		}
		for _, address := range got {
			if address != "tls://a3.example:9000" && address != "tls://a4.example:9000" {
				t.Errorf("%s", address)
			}
		}
		on[got[0]]++
		req.Transport = contracts.WebSocket
		if answer, refused = past.connect(time.Now(), req); refused != nil || len(answer.Alternates) != 3 {
			t.Errorf("over WebSocket: %+v, %v", answer, refused)
		}
		req.Transport = contracts.RawTCP
		if _, refused := behind.connect(time.Now(), req); refused != nil {
			t.Errorf("by gateway: %v", refused)
		}
	}
	if len(on) != 2 {
		t.Errorf("all were sent to %v", on)
	}
	all[2].Load.Capacity, all[3].Load.Capacity = 1, 1 // the gateway could not go on to the others either
	if _, refused := begin(t, through, Options{Fleets: of(all...)}).connect(time.Now(), contracts.ConnectionRequest{Client: "c", Transport: contracts.RawTCP}); refused == nil {
		t.Error("those that take raw TCP are full, and yet a client is sent there")
	}
}

func TestNoAddressOfTheTransportIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	through := DefaultConfig()
	through.Gateways = []Gateway{{"a", "wss://g.example/v1/ws"}}
	for name, test := range map[string]struct {
		cfg    Config
		status int
		code   contracts.Code
	}{
		"no gateway": {through, http.StatusBadRequest, contracts.CodeBadRequest},
		"no edge":    {direct(), http.StatusServiceUnavailable, contracts.CodeUnavailable},
	} {
		r := begin(t, test.cfg, Options{Fleets: of(readies("a", 2)...), APIKeys: apiKeys()})
		status, _, body := ask(t, r, "POST", Path, `{"client":"bob","transport":"tcp"}`, "Beeline-Api-Key: "+apiKey)
		if status != test.status || !strings.Contains(body, `"`+string(test.code)+`"`) || !strings.Contains(strings.ToLower(body), "tcp") {
			t.Errorf("%s: %d, %s", name, status, body)
		}
		if status, _, body := ask(t, r, "POST", Path, `{"client":"bob","transport":"websocket"}`, "Beeline-Api-Key: "+apiKey); status != http.StatusOK {
			t.Errorf("%s, over WebSocket: %d, %s", name, status, body)
		}
		if status, _, body := ask(t, r, "POST", Path, `{"client":"bob","transport":"udp"}`, "Beeline-Api-Key: "+apiKey); status != http.StatusBadRequest {
			t.Errorf("%s, over what there is not: %d, %s", name, status, body)
		}
	}
}

func TestGatewaysAddressMustBeOneOfATransport(t *testing.T) {
	t.Parallel()
	for url, good := range map[string]bool{
		"ws://h": true, "wss://h/v1/ws": true, "tcp://h:1": true, "tls://[::1]:1": true,
		"tcp://h": false, "tls://h:1/": false, "tls://h:1?c=a": false, "tls://u@h:1": false, "http://h": false, "": false, "h:1": false,
	} {
		cfg := DefaultConfig()
		cfg.Gateways = []Gateway{{"a", url}}
		if err := cfg.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", url, err)
		}
	}
}
