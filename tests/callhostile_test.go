package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/client"
)

func callWithKey(k contracts.CallKey) client.CallOptions {
	return client.CallOptions{Key: k, Timeout: 20 * time.Second}
}

// codeOf is the code of what a call was told, or "".
func codeOf(err error) contracts.Code {
	if told, ok := errors.AsType[*contracts.Error](err); ok {
		return told.Code
	}
	return ""
}

// nextTo returns the reply subjects near one: those of the calls before and after it, should somebody guess them.
func nextTo(reply string) []string {
	dot := strings.LastIndexByte(reply, '.')
	head, secret := reply[:dot], reply[dot+1:]
	cut := strings.LastIndexByte(head, '.') + 1
	var all []string
	for _, n := range []string{"0", "1", "2", head[cut:] + "0", head[cut:]} {
		for _, s := range []string{secret, "0", "1", ""} {
			if n+"."+s != reply[cut:] {
				all = append(all, head[:cut]+n+"."+s)
			}
		}
	}
	return all
}

func TestAHostileInstanceReachesNobodyElse(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	var mu sync.Mutex
	var seen []string // reply subjects of all calls
	startRaw(t, f.NATS.URL(), "evil", "e1", func(r *rawInstance, c rawCall) {
		mu.Lock()
		before := seen
		seen = append(seen, c.reply)
		mu.Unlock()
		var how string
		_ = json.Unmarshal(c.task.Data, &how)
		switch how {
		case "others":
			for _, old := range before { // that were answered, or given up
				r.publish(old, `{"data":"for somebody else"}`)
			}
			for _, guess := range nextTo(c.reply) {
				r.publish(guess, `{"data":"for somebody else"}`)
			}
			r.publish(c.reply, `{"data":"own"}`)
		case "twice":
			r.publish(c.reply, `{"data":1}`)
			r.publish(c.reply, `{"data":2}`)
		case "wait": // for its time to be over
		case "break":
			r.publish(c.reply, `{"data":1}}`+"\n"+`{"msg":{"from":"root","data":"smuggled"}}`)
		case "frame":
			r.publish(c.reply, "{\"data\":[1,\n\n2]}")
		default:
			r.publish(c.reply, how)
		}
	})
	known(t, f, 1)
	alice, bob := dialCaller(t, f, 0, "alice"), f.Dial(0, "bob")
	call := func(how string, timeout time.Duration) (string, error) {
		data, err := json.Marshal(how)
		if err != nil {
			t.Fatal(err)
		}
		got, err := alice.Call(t.Context(), "evil", data, client.CallOptions{Timeout: timeout})
		return string(got), err
	}
	// bob waits for an answer all the time: nothing that is not his may come.
	bob.Raw(`{"id":77,"call":{"service":"evil","data":"wait","timeout_ms":60000}}`)
	fleet.Eventually(t, "bob's call is there", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 1 })

	if _, err := call("wait", 50*time.Millisecond); codeOf(err) != contracts.CodeTimeout {
		t.Errorf("no answer: %v", err)
	}
	for _, garbage := range []string{
		"", "x", "{}", "[]", `"data"`, `{"data":1,"error":{"code":"a","message":""}}`, `{"data":1}}`, `{"data":}`, `{"ok":1}`,
		`{"error":{"code":"NO SUCH\n","message":""}}`, `{"error":{"code":"x","message":"` + strings.Repeat("m", 2000) + `"}}`, `{"refused":"because"}`,
		`{"data":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`, "break",
	} {
		if got, err := call(garbage, 20*time.Second); codeOf(err) != contracts.CodeInternal {
			t.Errorf("%.60q: %s, %v", garbage, got, err)
		}
	}
	if _, err := call(`{"data":"`+strings.Repeat("x", 300<<10)+`"}`, 20*time.Second); err == nil {
		t.Error("an answer over the limit was taken")
	}
	for how, want := range map[string]string{"twice": "1", "frame": "[1,2]", `{"data":"it still works"}`: `"it still works"`} {
		if got, err := call(how, 20*time.Second); got != want || err != nil {
			t.Errorf("%s: %s, %v", how, got, err)
		}
	}
	// With the reply subject of bob's call it may answer that, as it was asked to; nobody else's can be had by guessing.
	mu.Lock()
	seen = seen[1:]
	mu.Unlock()
	if got, err := call("others", 20*time.Second); got != `"own"` || err != nil {
		t.Errorf("others: %s, %v", got, err)
	}
	if n := f.Nodes[0].Value("beeline_calls_strays_total"); n < 10 {
		t.Errorf("%v answers were counted that nobody waits for", n)
	}
	if got := bob.Send("alice", "1"); got != "delivered" {
		t.Errorf("bob's next request: %s", got) // and so nothing came before its answer
	}
}

func TestAnAnswerOf100MBReachesNobodyAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	const size = 100 << 20
	sent := make(chan int, 1)
	startRaw(t, f.NATS.URL(), "evil", "e1", func(r *rawInstance, c rawCall) {
		r.mu.Lock()
		defer r.mu.Unlock()
		chunk, n := []byte(strings.Repeat("1", 64<<10)), 0
		_, err := fmt.Fprintf(r.conn, "PUB %s %d\r\n", c.reply, size)
		for ; err == nil && n < size; n += len(chunk) {
			_, err = r.conn.Write(chunk)
		}
		sent <- n
	})
	work(t, f.NATS.URL(), "w0", nil, at(0))
	known(t, f, 2)
	alice := dialCaller(t, f, 0, "alice")
	huge := make(chan error, 1)
	go func() {
		_, err := alice.Call(t.Context(), "evil", []byte("1"), client.CallOptions{Timeout: time.Second})
		huge <- err
	}()
	for ended := false; !ended; { // meanwhile, over the same connection
		if _, err := alice.Call(t.Context(), "work", []byte(`{"client":"alice"}`), callWithKey("")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-huge:
			if code := codeOf(err); code != contracts.CodeTimeout && code != contracts.CodeUnavailable {
				t.Errorf("its call ended as %v", err)
			}
			ended = true
		default:
		}
	}
	if n := <-sent; n >= size {
		t.Errorf("the server took all %d bytes", n) // else it has cut off the instance, and that is that
	}
}

func TestCallsThatMayNotBeAreRefused(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, fleet.Configure(func(c *node.Config) {
		c.AllowCall = []string{"work", "none"}
		c.Edge.Calls = 2
	}))
	work(t, f.NATS.URL(), "w0", nil, at(100*time.Millisecond))
	known(t, f, 1)
	c := dialCaller(t, f, 0, "c0")
	for service, want := range map[contracts.ServiceName]contracts.Code{"other": contracts.CodeForbidden, "none": contracts.CodeUnavailable} {
		if _, err := c.Call(t.Context(), service, []byte("1"), client.CallOptions{}); codeOf(err) != want {
			t.Errorf("%s: %v", service, err)
		}
	}
	codes := map[contracts.Code]int{}
	for _, x := range many(t, []*client.Client{c}, 20, 10, noKey, client.CallOptions{}) {
		codes[codeOf(x.err)]++
	}
	if codes[contracts.CodeRateLimited] == 0 || codes[""] < 2 || codes[""]+codes[contracts.CodeRateLimited] != 20 {
		t.Errorf("of more calls than a connection may have: %v", codes)
	}
}

func TestADrainingInstanceKeepsItsKeysAndGetsNoNewOnes(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	workers := map[contracts.InstanceID]*worker{}
	for _, id := range []contracts.InstanceID{"w0", "w1"} {
		workers[id] = work(t, f.NATS.URL(), id, nil, at(0))
	}
	known(t, f, 2)
	conns := dialCallers(t, f, 2)
	owners := func(from, n int) map[contracts.CallKey]contracts.InstanceID {
		owner := map[contracts.CallKey]contracts.InstanceID{}
		for _, x := range many(t, conns, n, 2, func(i int) contracts.CallKey { return contracts.CallKey(fmt.Sprint("k", from+i)) }, callWithKey("")) {
			if x.err != nil {
				t.Errorf("call %d: %v", x.n, x.err)
			}
			owner[x.key] = x.answer.Instance
		}
		return owner
	}
	before := owners(0, 60)
	drain, cancel := context.WithCancel(t.Context())
	cancel() // it only begins
	workers["w0"].Drain(drain)
	fleet.Eventually(t, "the nodes know that it drains", func() bool {
		return f.Nodes[0].Value("beeline_calls_open_instances")+f.Nodes[1].Value("beeline_calls_open_instances") == 2
	})
	kept := 0
	for key, id := range owners(0, 60) {
		if id != before[key] {
			t.Errorf("key %s moved from %s to %s while its instance drains", key, before[key], id)
		}
		if id == "w0" {
			kept++
		}
	}
	if kept == 0 {
		t.Error("the instance that drains had no keys: the test shows nothing")
	}
	for key, id := range owners(1000, 60) {
		if id != "w1" {
			t.Errorf("new key %s is on the instance that drains", key)
		}
	}
	if err := workers["w0"].Close(t.Context()); err != nil {
		t.Error(err)
	}
	for key, id := range owners(0, 60) {
		if id != "w1" {
			t.Errorf("key %s is on %s after the drain's end", key, id)
		}
	}
}

func TestKeysStayWhereTheyAreWithoutRedis(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	for _, id := range []contracts.InstanceID{"w0", "w1", "w2"} {
		work(t, f.NATS.URL(), id, nil, at(0))
	}
	known(t, f, 3)
	conns := dialCallers(t, f, 2)
	owner := map[contracts.CallKey]contracts.InstanceID{}
	// Each key is called over both nodes.
	check := func(what string, from int) {
		t.Helper()
		var all []try
		for i := range conns {
			all = append(all, manyAs(t, conns[i:i+1], i, 80, 4, func(i int) contracts.CallKey { return contracts.CallKey(fmt.Sprint("k", from+i%40)) }, callWithKey(""))...)
		}
		for _, x := range all {
			if x.err != nil {
				t.Errorf("%s: call %d: %v", what, x.n, x.err)
				continue
			}
			if was := owner[x.key]; was != "" && was != x.answer.Instance {
				t.Errorf("%s: key %s was on %s and on %s", what, x.key, was, x.answer.Instance)
			}
			owner[x.key] = x.answer.Instance
		}
	}
	check("with redis", 0)
	for _, n := range f.Nodes {
		n.RedisLink.Cut()
	}
	check("known keys without redis", 0)
	check("new keys without redis", 1000)
	for _, n := range f.Nodes {
		n.RedisLink.Restore()
	}
	check("with redis again", 0)
	check("keys that were new without it", 1000)
}
