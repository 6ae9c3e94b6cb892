package tests

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/token"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// join makes a client a member of a group.
func join(t *testing.T, c *fleet.Client, g contracts.GroupName) {
	t.Helper()
	c.Raw(string(contracts.AppendGroup(nil, 99, contracts.OpJoin, g)))
	if e := c.Next(); e.OK == nil || *e.ID != 99 {
		t.Fatalf("%s joins %s: got %+v", c.Name, g, e)
	}
}

// publish publishes and returns how many nodes had members.
func publish(t *testing.T, c *fleet.Client, g contracts.GroupName, data string) int {
	t.Helper()
	c.Raw(string(contracts.AppendPublish(nil, 7, g, []byte(data))))
	e := c.Next()
	if e.OK == nil || e.OK.Status != contracts.Sent {
		t.Fatalf("%s publishes to %s: got %+v", c.Name, g, e)
	}
	return e.OK.Nodes
}

func expectGroup(t *testing.T, c *fleet.Client, g contracts.GroupName, data string) {
	t.Helper()
	if e := c.Next(); e.Msg == nil || e.Msg.Group != g || string(e.Msg.Data) != data {
		t.Fatalf("%s: got %+v, not %s in %s", c.Name, e, data, g)
	}
}

func TestGroupMessageCostsOneNodeMessagePerNode(t *testing.T) {
	t.Parallel()
	const each = 50
	f := fleet.New(t, 3)
	alice := f.Dial(0, "alice")
	var members []*fleet.Client
	for i := range 2 * each {
		m := f.Dial(1+i%2, contracts.ClientID(fmt.Sprint("m", i)))
		join(t, m, "room")
		members = append(members, m)
	}
	if n := publish(t, alice, "room", `0`); n != 2 {
		t.Fatalf("sent to %d nodes", n)
	}
	before := f.Nodes[0].Value("beeline_bus_sent_total")
	const messages = 20
	for i := range messages {
		publish(t, alice, "room", fmt.Sprint(i+1))
	}
	if n := f.Nodes[0].Value("beeline_bus_sent_total") - before; n != 2*messages {
		t.Errorf("%d messages to %d members on 2 nodes cost %v node messages", messages, len(members), n)
	}
	for _, m := range members {
		for i := range messages + 1 {
			expectGroup(t, m, "room", fmt.Sprint(i))
		}
	}
}

func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	alice := f.Dial(0, "alice")
	for round := range 50 {
		bob, eve := f.Dial(1, "bob"), f.Dial(0, "eve")
		join(t, bob, "room")
		join(t, eve, "room")
		data := fmt.Sprint(round)
		if n := publish(t, alice, "room", data); n != 2 {
			t.Fatalf("round %d: sent to %d nodes", round, n)
		}
		expectGroup(t, bob, "room", data)
		expectGroup(t, eve, "room", data)
		bob.Raw(string(contracts.AppendGroup(nil, 5, contracts.OpLeave, "room")))
		if e := bob.Next(); e.OK == nil {
			t.Fatalf("leave: %+v", e)
		}
		eve.Close() // leaves by ending
		fleet.Eventually(t, "nobody is in the room", func() bool { return publish(t, alice, "room", `"anybody?"`) == 0 })
		for {
			e, err := bob.TryNext(time.Millisecond)
			if err != nil {
				break
			}
			t.Fatalf("bob left, and got %+v", e)
		}
		bob.Close()
	}
}

func TestGroupsNeedARule(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	f := fleet.New(t, 1, strict(k))
	s := k.issue(t, token.HS256, token.Claims{Client: "bob", Expires: time.Now().Add(time.Hour), Groups: patterns(t, "team:*")})
	bob := f.Connect(0, http.Header{"Authorization": {"Bearer " + s}})
	if e := bob.Next(); e.Ready == nil {
		t.Fatalf("got %+v", e)
	}
	join(t, bob, "team:red")
	if n := publish(t, bob, "team:blue", `1`); n != 0 {
		t.Errorf("sent to %d nodes", n)
	}
	for _, request := range []string{`{"id":1,"join":{"group":"board"}}`, `{"id":2,"publish":{"group":"board","data":1}}`} {
		bob.Raw(request)
		if e := bob.Next(); e.Error == nil || e.Error.Code != contracts.CodeForbidden {
			t.Errorf("%s: got %+v", request, e)
		}
	}
}

func TestMembersArePagedOverAllNodes(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3)
	want := map[contracts.ClientID]bool{}
	for i := range 40 {
		m := f.Dial(i%3, contracts.ClientID(fmt.Sprintf("m%02d", i)))
		join(t, m, "room")
		want[m.Name] = true
	}
	join(t, f.Dial(1, "m00"), "room") // a second session of one who is there
	alice := f.Dial(0, "alice")
	q := contracts.MembersQuery{Group: "room", Limit: 7}
	for pages := 1; ; pages++ {
		alice.Raw(string(contracts.AppendMembers(nil, 3, q)))
		e := alice.Next()
		if e.OK == nil || len(e.OK.Members) > q.Limit {
			t.Fatalf("got %+v", e)
		}
		for _, c := range e.OK.Members {
			if !want[c] || c <= q.After {
				t.Fatalf("page %d: %s is not a member, or came before", pages, c)
			}
			delete(want, c)
			q.After = c
		}
		if !e.OK.More {
			if pages < 6 {
				t.Errorf("40 members came in %d pages of 7", pages)
			}
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("never named: %v", want)
	}
	alice.Raw(string(contracts.AppendMembers(nil, 4, contracts.MembersQuery{Group: "empty", Limit: 5})))
	if e := alice.Next(); e.OK == nil || len(e.OK.Members) != 0 || e.OK.More {
		t.Errorf("an empty group: %+v", e)
	}
}

func TestHookDecidesWhereTheTokenDoesNot(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case `{"op":"join","client":"bob","target":"board"}`, `{"op":"watch","client":"bob","target":"eve"}`:
		case `{"op":"join","client":"bob","target":"broken"}`:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(backend.Close)
	f := fleet.New(t, 1, strict(k), fleet.Configure(func(c *node.Config) { c.AllowWatch, c.AllowGroups, c.HookURL = nil, nil, backend.URL }))
	s := k.issue(t, token.HS256, token.Claims{Client: "bob", Expires: time.Now().Add(time.Hour)})
	bob := f.Connect(0, http.Header{"Authorization": {"Bearer " + s}})
	if e := bob.Next(); e.Ready == nil {
		t.Fatalf("got %+v", e)
	}
	for _, c := range []struct{ request, want string }{
		{`{"id":1,"publish":{"group":"board","data":1}}`, "forbidden"}, // not a member yet
		{`{"id":2,"join":{"group":"board"}}`, ""},
		{`{"id":3,"join":{"group":"other"}}`, "forbidden"},
		{`{"id":4,"join":{"group":"broken"}}`, "unavailable"},
		{`{"id":5,"watch":{"clients":["eve"]}}`, ""},
		{`{"id":6,"watch":{"clients":["eve","carol"]}}`, "forbidden"},
	} {
		bob.Raw(c.request)
		if e := bob.Next(); fleet.Outcome(e) != c.want {
			t.Errorf("%s: got %q, not %q", c.request, fleet.Outcome(e), c.want)
		}
	}
	bob.Raw(`{"id":7,"publish":{"group":"board","data":2}}`) // a member now; the message may come before the answer
	for range 2 {
		if e := bob.Next(); e.Msg == nil && e.OK == nil {
			t.Errorf("got %+v", e)
		}
	}
}
