package tests

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestClosingSessionSendsNothingMore(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.Sessions = edge.SessionsSingle }))
	eve := f.Dial(0, "eve")
	old := f.Dial(0, "alice")
	old.WS().SetCloseHandler(func(int, string) error { return nil }) // ignores that it was replaced
	f.Dial(0, "alice")
	for i := range 20 {
		frame := contracts.AppendSend(nil, uint64(i), "eve", []byte(`"from the grave"`))
		if old.WS().WriteMessage(1, frame) != nil {
			break
		}
	}
	if e, err := eve.TryNext(time.Second); err == nil {
		t.Errorf("a session that was ended has sent %+v", e.Msg)
	}
}

func TestRequestWithoutABodyIsNotKept(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	addr := strings.TrimSuffix(strings.TrimPrefix(f.Nodes[0].URL(), "ws://"), node.ClientPath)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(fleet.Patience))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the connection is kept: %v", err)
	}
}

func TestOneClientHasABoundedNumberOfSessions(t *testing.T) {
	t.Parallel()
	const most = 8
	f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) { c.Edge.MaxPerClient = most }))
	for i := range most / 2 {
		f.Dial(i%2, "bob")
		f.DialTCP(i%2, "bob")
	}
	for _, c := range []*fleet.Client{f.Connect(0, nil), f.ConnectTCP(0)} {
		c.Raw(`{"auth":{"client":"bob"}}`)
		if code := c.Closed(); code != int(contracts.CloseRate) {
			t.Errorf("one more was closed with %d", code)
		}
	}
	fleet.Eventually(t, "its record is removed", func() bool {
		n, err := f.Redis.Client(t).HLen(t.Context(), recordOf("bob")).Result()
		return err == nil && n == most
	})
}

func TestStalledRecipientOnTheSameNodeDoesNotHoldUpItsSender(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) {
		c.Edge.AckTimeout = 300 * time.Millisecond
		c.Edge.QueueBytes = 64 << 20
	}))
	alice, bob := f.Dial(0, "alice"), f.Dial(0, "bob")
	stopReading(t, f, 0, "stalled")
	data := `"` + strings.Repeat("x", 60<<10) + `"`
	got, tries := "", 0
	for got = alice.Send("stalled", data); got == "delivered"; got = alice.Send("stalled", data) {
		if tries++; tries > 2000 {
			t.Fatal("the kernel takes all: the test shows nothing")
		}
	}
	if got != "unknown" {
		t.Error("a message that nobody reads ends as", got)
	}
	if got := alice.Send("bob", `1`); got != "delivered" {
		t.Error("a message to another:", got)
	}
	bob.Expect("alice", `1`)
}

func TestHungRedisHoldsUpNobodyOnTheSameNode(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) { c.Redis.Timeout = 300 * time.Millisecond }))
	alice, bob := f.Dial(0, "alice"), f.Dial(0, "bob")
	f.Dial(1, "eve")
	f.Nodes[0].RedisLink.Freeze()
	const strangers = 1000
	for i := range strangers {
		alice.Post(contracts.ClientID(fmt.Sprint("stranger-", i)), `1`)
	}
	start := time.Now()
	id := alice.Post("bob", `2`)
	bob.Expect("alice", `2`)
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("a message within the node took %v", d)
	}
	outcomes := map[string]int{}
	for range strangers + 1 {
		e := alice.Next()
		if *e.ID == id && fleet.Outcome(e) != "delivered" {
			t.Error("the message within the node:", fleet.Outcome(e))
		}
		outcomes[fleet.Outcome(e)]++
	}
	if f.Nodes[0].Value("beeline_edge_probes_total") == 0 {
		t.Error("Redis was not away:", outcomes)
	}
	f.Nodes[0].RedisLink.Restore()
	fleet.Eventually(t, "all is well again", func() bool { return alice.Send("eve", `3`) == "delivered" })
}

func TestFloodIsEnded(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) {
		c.Edge.MessageRate, c.Edge.MessageBurst, c.Edge.RateStrikes = 100, 100, 1000
	}))
	for name, frame := range map[string]string{"requests": `{"ping":{}}`, "empty lines": "\n\n\n", "empty frames": ""} {
		for _, c := range []*fleet.Client{f.Dial(0, "greedy"), f.DialTCP(0, "greedy-by-tcp")} {
			go func() {
				for c.TryRaw(frame) == nil { // until it is closed
				}
			}()
			if code := c.Closed(); code != int(contracts.CloseRate) {
				t.Errorf("%s, %s: closed with %d", c.Name, name, code)
			}
			c.Close()
		}
	}
	alive(t, f)
}

func TestBurstOfConnectionsStaysWithinTheLimit(t *testing.T) {
	t.Parallel()
	const most = 20
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) { c.Edge.MaxSessions = most }))
	results := make(chan error, 10*most)
	for range cap(results) {
		go func() {
			_, status, err := f.TryConnect(0, nil)
			if err != nil && status != http.StatusServiceUnavailable {
				t.Error("refused otherwise:", err)
			}
			results <- err
		}()
	}
	in := 0
	for range cap(results) {
		if <-results == nil {
			in++
		}
	}
	if in == 0 || in > most {
		t.Errorf("%d connections were let in, %d are allowed", in, most)
	}
}
