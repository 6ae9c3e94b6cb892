package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestAKeyIsHeldToItsRate(t *testing.T) {
	t.Parallel()
	slow := apikey.Of("slow").String()
	f := fleet.New(t, 1, withAPI(node.APIKey{
		Name: "slow", SHA256: slow, Scopes: []api.Scope{api.ScopeSend}, From: []string{"*"}, Clients: []string{"*"}, Rate: 0.001, Burst: 10,
	}))
	n, as := f.Nodes[0], "Beeline-Api-Key: slow"
	for range 3 {
		answered(t, n, "send", `{"from":"a","to":"b","data":1}`, "404 "+offlineAnswer, as)
	}
	if status, text := ask(t, n, "broadcast", `{"from":"a","to":["b","c","d","e","f"],"data":1}`, as); status != 200 { // five
		t.Error(status, text)
	}
	if status, text := ask(t, n, "batch", `{"operations":[{"x":{}},{"send":{"from":"a","to":"b","data":1}},{"send":{"from":"a","to":"b","data":1}}]}`, as); status != 429 {
		t.Error("three of the two that are left:", status, text)
	}
	if status, text := ask(t, n, "send", `nonsense`, as); status != 400 {
		t.Error(status, text)
	}
	answered(t, n, "send", `{"from":"a","to":"b","data":1}`, "404 "+offlineAnswer, as)
	for _, body := range []string{`{"from":"a","to":"b","data":1}`, `nonsense`} {
		if status, text := ask(t, n, "send", body, as); status != 429 || !strings.Contains(text, "rate_limited") {
			t.Error(status, text)
		}
	}
	if status, _ := ask(t, n, "broadcast", `{"from":"a","to":["1","2","3","4","5","6","7","8","9","10","11"],"data":1}`, as); status != 413 {
		t.Error("what will never be allowed is too large:", status)
	}
	answered(t, n, "send", `{"from":"a","to":"b","data":1}`, "404 "+offlineAnswer) // another key
}

func TestAKeyThatDoesNotSayHasARateAllTheSame(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, withAPI(node.APIKey{
		Name: "silent", SHA256: apikey.Of("silent").String(), Scopes: []api.Scope{api.ScopePresence}, Clients: []string{"*"},
	}))
	n, as := f.Nodes[0], "Beeline-Api-Key: silent"
	clients := make([]string, 250)
	for i := range clients {
		clients[i] = fmt.Sprint("c", i)
	}
	body := `{"clients":["` + strings.Join(clients, `","`) + `"]}`
	if status, text := ask(t, n, "batch", `{"operations":[`+strings.Repeat(`{"presence":`+body+`},`, 4)+`{"presence":{"clients":["a"]}}]}`, as); status != 413 {
		t.Errorf("one more than at once: %d %.300s", status, text)
	}
	began, asked := time.Now(), 0
	for {
		status, text := ask(t, n, "presence", body, as)
		if status == 429 {
			break
		}
		if asked += len(clients); status != 200 || float64(asked) > api.DefaultBurst+api.DefaultRate*(time.Since(began).Seconds()+1) {
			t.Fatalf("%d, and %d were let through in %v: %.300s", status, asked, time.Since(began), text)
		}
	}
	if asked < api.DefaultBurst {
		t.Errorf("only %d were let through", asked)
	}
}
