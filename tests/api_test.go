package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// withAPI gives every node an API, with the key backendKey for everything but tokens, and others.
func withAPI(others ...node.APIKey) fleet.Option {
	return fleet.Configure(func(c *node.Config) {
		c.APIListen = "127.0.0.1:0"
		everything := []string{"*"}
		c.APIKeys = append([]node.APIKey{{
			Name: "all", SHA256: apikey.Of(backendKey).String(), From: everything, Clients: everything, Groups: everything,
			Scopes: []api.Scope{api.ScopeSend, api.ScopePublish, api.ScopePresence, api.ScopeMembers, api.ScopeDisconnect},
			Rate:   100_000, Burst: 100_000,
		}}, others...)
	})
}

// ask asks a node as a backend, and returns the status and the answer.
func ask(t *testing.T, n *fleet.Node, op, body string, headers ...string) (int, string) {
	t.Helper()
	status, text := request(t, "POST", n.APIURL()+"/v1/"+op, body, append([]string{"Beeline-Api-Key: " + backendKey}, headers...)...)
	return status, strings.TrimSuffix(text, "\n")
}

// answered fails the test if a node does not answer so.
func answered(t *testing.T, n *fleet.Node, op, body, want string, headers ...string) {
	t.Helper()
	if status, got := ask(t, n, op, body, headers...); fmt.Sprint(status, " ", got) != want {
		t.Errorf("%s %.200s: %d %.500s, not %s", op, body, status, got, want)
	}
}

const offlineAnswer = `{"error":{"code":"offline","message":"the recipient is not connected"}}`

func TestABackendReachesClientsOnEveryNode(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, withAPI())
	bob, eve, dave := f.Dial(0, "bob"), f.Dial(1, "eve"), f.Dial(2, "dave")
	join(t, eve, "room")
	join(t, dave, "room")
	asked := f.Nodes[0]
	for i, c := range []*fleet.Client{bob, eve, dave} {
		data := fmt.Sprintf(`{"n": %d.0}`, i) // byte for byte
		answered(t, asked, "send", `{"from":"shop","to":"`+string(c.Name)+`","data":`+data+`}`, `200 {"ok":{"status":"delivered"}}`)
		c.Expect("shop", data)
	}
	answered(t, asked, "send", `{"from":"shop","to":"nobody","data":1}`, "404 "+offlineAnswer)
	answered(t, asked, "publish", `{"from":"shop","group":"room","data":2}`, `200 {"ok":{"status":"sent","nodes":2}}`)
	answered(t, asked, "publish", `{"from":"shop","group":"empty","data":2}`, `200 {"ok":{"status":"sent","nodes":0}}`)
	for _, c := range []*fleet.Client{eve, dave} {
		expectGroup(t, c, "room", "2")
	}
	answered(t, asked, "members", `{"group":"room"}`, `200 {"ok":{"members":["dave","eve"],"more":false}}`)
	answered(t, asked, "members", `{"group":"room","limit":1}`, `200 {"ok":{"members":["dave"],"more":true}}`)
	answered(t, asked, "members", `{"group":"room","after":"eve"}`, `200 {"ok":{"members":[],"more":false}}`)

	// What is sent one after the other arrives in that order, also in a batch, and a line break in data does no harm.
	const messages = 100
	var batch []string
	for i := range messages {
		batch = append(batch, fmt.Sprintf(`{"send":{"from":"shop","to":"dave","data":[%d,`+"\n"+`0]}}`, i))
	}
	status, text := ask(t, asked, "batch", `{"operations":[`+strings.Join(batch, ",")+`]}`)
	if status != 200 || strings.Count(text, `{"status":200,"ok":{"status":"delivered"}}`) != messages {
		t.Fatal(status, text)
	}
	for i := range messages {
		dave.Expect("shop", fmt.Sprintf("[%d, 0]", i))
	}
}

func TestABroadcastHasOneOutcomeForEachRecipient(t *testing.T) {
	t.Parallel()
	const key = "may-send-to-members"
	f := fleet.New(t, 3, withAPI(node.APIKey{
		Name: "some", SHA256: apikey.Of(key).String(), Scopes: []api.Scope{api.ScopeSend}, From: []string{"shop"}, Clients: []string{"m*"},
	}))
	var online []*fleet.Client
	for i := range 30 {
		online = append(online, f.Dial(i%3, contracts.ClientID(fmt.Sprint("m", i))))
	}
	var to []string
	want := map[contracts.ClientID]contracts.Outcome{}
	for i := range 500 {
		id := contracts.ClientID(fmt.Sprint("m", i))
		if want[id] = contracts.Offline; i < len(online) {
			want[id] = contracts.Delivered
		}
		to = append(to, string(id))
	}
	to = append(to, "m0", "x") // twice, and one that is not the key's
	want["x"] = contracts.Forbidden
	before, _ := f.Nodes[1].Outcomes()
	_, text := ask(t, f.Nodes[1], "broadcast", `{"from":"shop","to":["`+strings.Join(to, `","`)+`"],"data":"all"}`, "Beeline-Api-Key: "+key)
	var answer struct{ OK contracts.BroadcastAnswer }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.OK.Outcomes) != len(want) {
		t.Fatalf("%v: %d outcomes of %d: %.300s", err, len(answer.OK.Outcomes), len(want), text)
	}
	for id, o := range want {
		if got := answer.OK.Outcomes[id]; got != o {
			t.Errorf("%s: %q, not %s", id, got, o)
		}
	}
	for _, c := range online {
		c.Expect("shop", `"all"`)
		if rest := c.Leave(); len(rest) > 0 {
			t.Errorf("%s got %v, too", c.Name, rest)
		}
	}
	if after, _ := f.Nodes[1].Outcomes(); after-before != 500 {
		t.Errorf("it was counted as %d messages", after-before)
	}
}

func TestABackendDisconnectsAcrossNodes(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	asked := f.Nodes[0]
	phone, tablet, desk := f.Dial(0, "bob"), f.Dial(1, "bob"), f.Dial(1, "bob")
	other := f.Dial(1, "bobby")
	var where struct{ OK contracts.PresenceAnswer }
	_, text := ask(t, asked, "presence", `{"clients":["nobody","bob"]}`)
	if err := json.Unmarshal([]byte(text), &where); err != nil || len(where.OK.Clients) != 2 || where.OK.Clients[0].Online || len(where.OK.Clients[1].Sessions) != 3 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, s := range where.OK.Clients[1].Sessions {
		if on := map[contracts.SessionID]contracts.NodeID{phone.Ready.Session: "a1", tablet.Ready.Session: "a2", desk.Ready.Session: "a2"}[s.Session]; on != s.Node {
			t.Errorf("%s is said to be on %s, and is on %q", s.Session, s.Node, on)
		}
	}
	one := `{"client":"bob","session":"` + string(tablet.Ready.Session) + `","retry":"backoff"}`
	answered(t, asked, "disconnect", one, `200 {"ok":{"disconnected":1}}`)
	if code := tablet.Closed(); code != int(contracts.CloseRestart) {
		t.Errorf("closed with %d", code)
	}
	answered(t, asked, "send", `{"from":"shop","to":"bob","data":1}`, `200 {"ok":{"status":"delivered"}}`) // the others are there
	answered(t, asked, "disconnect", one, `200 {"ok":{"disconnected":0}}`)
	answered(t, asked, "disconnect", `{"client":"eve","session":"`+string(other.Ready.Session)+`"}`, `200 {"ok":{"disconnected":0}}`)
	answered(t, asked, "disconnect", `{"client":"bob"}`, `200 {"ok":{"disconnected":2}}`)
	for _, c := range []*fleet.Client{phone, desk} {
		if code := c.Closed(); code != int(contracts.CloseForbidden) {
			t.Errorf("closed with %d", code)
		}
	}
	fleet.Eventually(t, "bob is offline", func() bool {
		_, text := ask(t, asked, "presence", `{"clients":["bob"]}`)
		return text == `{"ok":{"clients":[{"client":"bob","online":false,"sessions":[]}]}}`
	})
	if got := other.Send("nobody", "1"); got != "offline" {
		t.Errorf("bobby, who is not bob, is answered %s", got)
	}
}

func TestABackendReachesAndDisconnectsClientsOfAnotherCluster(t *testing.T) {
	t.Parallel()
	a, b, _ := fleet.Pair(t, 1, withAPI())
	here, there := a.Dial(0, "bob"), b.Dial(0, "bob")
	join(t, there, "room")
	n := a.Nodes[0]
	answered(t, n, "send", `{"from":"shop","to":"bob","data":1}`, `200 {"ok":{"status":"delivered"}}`)
	here.Expect("shop", "1")
	there.Expect("shop", "1")
	answered(t, n, "members", `{"group":"room"}`, `200 {"ok":{"members":["bob"],"more":false}}`)
	_, text := ask(t, n, "presence", `{"clients":["bob"]}`)
	var where struct{ OK contracts.PresenceAnswer }
	if err := json.Unmarshal([]byte(text), &where); err != nil || len(where.OK.Clients[0].Sessions) != 2 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, s := range where.OK.Clients[0].Sessions {
		if on := map[contracts.SessionID]string{here.Ready.Session: "a/a1", there.Ready.Session: "b/" + string(b.Nodes[0].ID)}[s.Session]; on != string(s.Cluster)+"/"+string(s.Node) {
			t.Errorf("%+v is on %s", s, on)
		}
	}
	answered(t, n, "disconnect", `{"client":"bob"}`, `200 {"ok":{"disconnected":2}}`)
	for _, c := range []*fleet.Client{here, there} {
		if code := c.Closed(); code != int(contracts.CloseForbidden) {
			t.Errorf("closed with %d", code)
		}
	}
}

func TestAKeyMayDoWhatItsLineSays(t *testing.T) {
	t.Parallel()
	const key = "narrow"
	hash := apikey.Of(key).String()
	f := fleet.New(t, 1, withAPI(
		node.APIKey{Name: "narrow", SHA256: hash, Scopes: []api.Scope{api.ScopeSend, api.ScopePublish}, From: []string{"shop-*"}, Clients: []string{"bob"}, Groups: []string{"sale"}},
		node.APIKey{Name: "idle", SHA256: apikey.Of("idle").String(), Scopes: []api.Scope{api.ScopePresence}}, // for no client
	))
	n := f.Nodes[0]
	forbidden := func(key, op, body string) {
		t.Helper()
		status, text := ask(t, n, op, body, "Beeline-Api-Key: "+key)
		if status != 403 || !strings.Contains(text, `"forbidden"`) {
			t.Errorf("%s %s: %d %s", op, body, status, text)
		}
	}
	forbidden(key, "send", `{"from":"shop","to":"bob","data":1}`)
	forbidden(key, "send", `{"from":"shop-1","to":"eve","data":1}`)
	forbidden(key, "publish", `{"from":"shop-1","group":"room","data":1}`)
	forbidden(key, "publish", `{"from":"alice","group":"sale","data":1}`)
	forbidden(key, "broadcast", `{"from":"alice","to":["bob"],"data":1}`)
	forbidden(key, "presence", `{"clients":["bob"]}`)
	forbidden(key, "members", `{"group":"sale"}`)
	forbidden(key, "disconnect", `{"client":"bob"}`)
	forbidden(key, "tokens", `{"client":"bob"}`)
	forbidden("idle", "presence", `{"clients":["bob"]}`)
	answered(t, n, "send", `{"from":"shop-1","to":"bob","data":1}`, "404 "+offlineAnswer, "Beeline-Api-Key: "+key)
	answered(t, n, "publish", `{"from":"shop-1","group":"sale","data":1}`, `200 {"ok":{"status":"sent","nodes":0}}`, "Beeline-Api-Key: "+key)
	// In a batch each stands for itself.
	_, text := ask(t, n, "batch", `{"operations":[{"send":{"from":"shop-1","to":"bob","data":1}},{"members":{"group":"sale"}}]}`, "Beeline-Api-Key: "+key)
	if !strings.Contains(text, `{"status":404,`) || !strings.Contains(text, `{"status":403,`) {
		t.Error(text)
	}
	// The hash of a key is no key, and neither are others.
	for _, k := range []string{"", hash, key + " x", "Narrow", strings.Repeat("k", 4000)} {
		if status, text := ask(t, n, "send", `{"from":"shop-1","to":"bob","data":1}`, "Beeline-Api-Key: "+k); status != 401 {
			t.Errorf("key %.20q: %d %s", k, status, text)
		}
	}
	if status, _ := request(t, "POST", n.APIURL()+"/v1/send", `{}`); status != 401 {
		t.Errorf("without a key: %d", status)
	}
}

func TestHostileBodiesAreClearErrors(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, withAPI())
	n := f.Nodes[0]
	large := strings.Repeat("x", contracts.DefaultMaxFrame)
	for _, test := range []struct {
		op, body string
		status   int
	}{
		{"send", "", 400},
		{"send", "null", 400},
		{"send", `{"from":"a","to":"b","data":1`, 400},
		{"send", `{"from":"a","to":"b","data":1,"x":1}`, 400},
		{"send", `{"from":"a","to":"b","to":"c","data":1}`, 400},
		{"send", `{"from":"a","to":"b","Data":1}`, 400},
		{"send", `{"from":"*","to":"b","data":1}`, 400},
		{"send", `{"from":"a","to":">","data":1}`, 400},
		{"send", `{"from":"a","to":"b","data":"` + "\xc3\x28" + `"}`, 400},
		{"send", `{"from":"a","to":"b","data":` + strings.Repeat("[", 100_000), 400},
		{"send", `{"from":"a","to":"b","data":"` + large + `"}`, 413},
		{"send", strings.Repeat(" ", contracts.MaxBackendBody+1), 413},
		{"broadcast", `{"from":"a","to":[` + strings.Repeat(`"",`, 300_000) + `""],"data":1}`, 400},
		{"batch", `{"operations":[` + strings.Repeat(`{},`, 200) + `{}]}`, 400},
		{"members", `{"group":"g","limit":100000}`, 400},
		{"disconnect", `{"client":"a","session":"../../x"}`, 400},
		{"nonsense", `{}`, 404},
	} {
		status, text := ask(t, n, test.op, test.body)
		var answer struct{ Error *contracts.Error }
		if err := json.Unmarshal([]byte(text), &answer); err != nil || status != test.status || answer.Error == nil || len(answer.Error.Message) > 200 {
			t.Errorf("%s %.60s: %d %.300s", test.op, test.body, status, text)
		}
	}
	for _, method := range []string{"GET", "PUT", "OPTIONS"} {
		if status, _ := request(t, method, n.APIURL()+"/v1/send", ""); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, status)
		}
	}
	alive(t, f)
}

func TestATokenOfABackendLetsItsClientIn(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	makers := node.APIKey{Name: "door", SHA256: apikey.Of("door").String(), Scopes: []api.Scope{api.ScopeTokens}, Clients: []string{"guest-*"}}
	f := fleet.New(t, 1, withAPI(makers), fleet.Configure(func(c *node.Config) {
		c.TokenKeys, c.TokenIssuer, c.TokenAudience, c.Anonymous = []string{"HS256:@" + secret}, "here", "chat", false
	}))
	n, as := f.Nodes[0], "Beeline-Api-Key: door"
	_, text := ask(t, n, "tokens", `{"client":"guest-1","ttl_s":60,"send":["host"],"groups":[]}`, as)
	var answer struct{ OK contracts.TokenAnswer }
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.OK.Token == "" {
		t.Fatal(err, text)
	}
	if left := time.Until(time.Unix(answer.OK.ExpiresAt, 0)); left > 61*time.Second || left < 40*time.Second {
		t.Errorf("it is good for %v", left)
	}
	c := f.Connect(0, http.Header{"Authorization": {"Bearer " + answer.OK.Token}})
	if e := c.Next(); e.Ready == nil || e.Ready.Client != "guest-1" {
		t.Fatalf("got %+v", e)
	}
	for to, want := range map[contracts.ClientID]string{"host": "offline", "bob": "forbidden"} {
		if got := c.Send(to, "1"); got != want {
			t.Errorf("to %s: %s", to, got)
		}
	}
	for body, want := range map[string]int{
		`{"client":"root"}`: 403, `{"client":"guest-1","send":["a b"]}`: 400, `{"client":"guest-1","ttl_s":0}`: 400, `{"client":"guest-1","admin":true}`: 400,
	} {
		if status, text := ask(t, n, "tokens", body, as); status != want {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	// A node that could not make tokens does not start with a key for that.
	if _, err := fleet.New(t, 0, withAPI(makers)).TryStart(0); !errors.Is(err, node.ErrConfig) {
		t.Error(err)
	}
}

func TestWhileRedisIsAwayABackendIsToldThatNothingIsKnown(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	bob := f.Dial(1, "bob")
	answered(t, f.Nodes[0], "send", `{"from":"shop","to":"bob","data":1}`, `200 {"ok":{"status":"delivered"}}`)
	bob.Expect("shop", "1")
	f.Redis.Kill()
	for _, op := range [][2]string{{"presence", `{"clients":["bob"]}`}, {"disconnect", `{"client":"bob"}`}, {"members", `{"group":"g"}`}} {
		if status, text := ask(t, f.Nodes[0], op[0], op[1]); status != 503 || !strings.Contains(text, `"unavailable"`) {
			t.Errorf("%s: %d %s", op[0], status, text)
		}
	}
	answered(t, f.Nodes[0], "send", `{"from":"shop","to":"bob","data":2}`, `200 {"ok":{"status":"delivered"}}`)
	bob.Expect("shop", "2")
}

func TestANodeThatStopsAnswersBackendsToTheEnd(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	n, to := f.Nodes[0], make([]string, 100)
	for i := range to {
		to[i] = fmt.Sprint("m", i)
		f.Dial(1, contracts.ClientID(to[i]))
	}
	body := `{"from":"shop","to":["` + strings.Join(to, `","`) + `"],"data":1}`
	var all sync.WaitGroup
	asked, stop := make(chan struct{}, 1000), make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.APIURL()+"/v1/broadcast", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set(apikey.Header, backendKey)
				resp, err := callers.Do(req)
				if err != nil { // it no longer listens
					return
				}
				var answer struct{ OK contracts.BroadcastAnswer }
				err = json.NewDecoder(resp.Body).Decode(&answer)
				_ = resp.Body.Close()
				if err != nil || len(answer.OK.Outcomes) != len(to) {
					t.Errorf("%d, %d outcomes: %v", resp.StatusCode, len(answer.OK.Outcomes), err)
				}
				select {
				case asked <- struct{}{}:
				case <-stop:
				}
			}
		})
	}
	for range 10 {
		<-asked
	}
	close(stop)
	n.Stop(t) // which checks, too, that each message had one outcome
	all.Wait()
}
