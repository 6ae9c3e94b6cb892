package tests

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/backend"
)

// overNATS has every node answer backends over NATS, too.
func overNATS() fleet.Option { return fleet.Configure(func(c *node.Config) { c.APINATS = true }) }

// askNATS asks over NATS as a program does that knows nothing of Beeline, and returns the headers and the body of the answer.
func askNATS(t *testing.T, c *broker.Conn, op, body string, headers ...string) (http.Header, string) {
	t.Helper()
	header := map[string][]string{}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		header[name] = append(header[name], value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
	defer cancel()
	answered, answer, err := c.Request(ctx, contracts.Subject("a.api."+op), header, []byte(body))
	if err != nil {
		t.Fatal(op, err)
	}
	return answered, strings.TrimSuffix(string(answer), "\n")
}

// refusalOf is what micro's clients take for an error in the headers of an answer.
func refusalOf(h http.Header) string {
	return strings.TrimSpace(strings.Join(h["Nats-Service-Error-Code"], ",") + " " + strings.Join(h["Nats-Service-Error"], ","))
}

func TestABackendGetsTheSameAnswersOverNATSAsOverHTTP(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI(), overNATS())
	bob := f.Dial(0, "bob")
	f.Dial(1, "eve")
	conn := brokertest.Connect(t, f.NATS.URL())
	key := "Beeline-Api-Key: " + backendKey
	for _, r := range []struct{ op, body string }{
		{"send", `{"from":"shop","to":"bob","data":1}`},
		{"send", `{"from":"shop","to":"nobody","data":1}`},
		{"send", `{"from":"shop","to":"bob"}`},
		{"send", `{`},
		{"publish", `{"from":"shop","group":"room","data":2}`},
		{"broadcast", `{"from":"shop","to":["bob","eve","x"],"data":2}`},
		{"members", `{"group":"room"}`},
		{"batch", `{"operations":[{"send":{"from":"shop","to":"bob","data":3}},{"nonsense":{}}]}`},
		{"tokens", `{"client":"bob"}`},
	} {
		status, text := ask(t, f.Nodes[0], r.op, r.body)
		header, got := askNATS(t, conn, r.op, r.body, key, "Beeline-Request-Id: mine")
		if got != text {
			t.Errorf("%s %s: %s over NATS, %s over HTTP", r.op, r.body, got, text)
		}
		refused := ""
		if status != http.StatusOK {
			refused = fmt.Sprint(status, " ", http.StatusText(status))
		}
		if refusalOf(header) != refused || header.Get(api.RequestIDHeader) != "mine" {
			t.Errorf("%s %s: %d, and the headers %v", r.op, r.body, status, header)
		}
	}
	for _, data := range []string{"1", "1", "2", "2", "3", "3"} {
		bob.Expect("shop", data)
	}
	// Strangers get nothing.
	for _, headers := range [][]string{nil, {"Beeline-Api-Key: wrong"}, {key, key}} {
		if h, got := askNATS(t, conn, "send", `{"from":"shop","to":"bob","data":4}`, headers...); refusalOf(h) != "401 Unauthorized" {
			t.Error(headers, h, got)
		}
	}
	if _, got := askNATS(t, conn, "presence", `{"clients":["bob"]}`, key); !strings.Contains(got, `"online":true`) {
		t.Error(got)
	}
}

func TestEdgesShareWhatBackendsAskOverNATS(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 3, withAPI(), overNATS())
	f.Dial(0, "bob")
	server := backend.NewAPI(brokertest.Connect(t, f.NATS.URL()), "a", backendKey)
	const messages = 300
	send := func() *contracts.Error {
		ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
		defer cancel()
		var answer contracts.SendAnswer
		err := server.Do(ctx, contracts.BackendSend, map[string]any{"from": "shop", "to": "bob", "data": 1}, "", &answer)
		if problem, is := errors.AsType[*contracts.Error](err); is {
			return problem
		}
		if err != nil || answer.Status != contracts.Delivered {
			t.Error(err, answer)
		}
		return nil
	}
	for range messages {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range f.Nodes {
		if share := n.Value("beeline_api_operations_total"); share < messages/10 {
			t.Errorf("node %d has answered %v of %d", i, share, messages)
		}
	}
	// To ask again is to ask another one, and does nothing twice.
	carol := f.Dial(2, "carol")
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
		err := server.Do(ctx, contracts.BackendSend, map[string]any{"from": "shop", "to": "carol", "data": "once"}, "order-7", nil)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Do(t.Context(), contracts.BackendSend, map[string]any{"from": "shop", "to": "carol", "data": "last"}, "", nil); err != nil {
		t.Fatal(err)
	}
	carol.Expect("shop", `"once"`)
	carol.Expect("shop", `"last"`)
	// A node that stops leaves them to the others, from one request to the next; the last one, to nobody.
	for i, n := range []*fleet.Node{f.Nodes[1], f.Nodes[2], f.Nodes[0]} {
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			n.Stop(t)
		}()
		for over := false; !over; {
			if err := send(); err != nil && (i < 2 || err.Code != contracts.CodeOffline && err.Code != contracts.CodeUnavailable) {
				t.Fatalf("while %s stops: %v", n.ID, err)
			}
			select {
			case <-stopped:
				over = true
			default:
			}
		}
	}
	if err := send(); err == nil || !strings.Contains(err.Message, "--api-nats") {
		t.Error("nobody is left, and", err)
	}
}

func TestAnAnswerThatNATSDoesNotTakeIsSaidToBeTooLarge(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1, withAPI(), overNATS())
	var clients []string
	for i := range contracts.MaxWatch {
		clients = append(clients, fmt.Sprint(strings.Repeat("x", 124), 1000+i))
	}
	one := `{"presence":{"clients":["` + strings.Join(clients, `","`) + `"]}}`
	conn := brokertest.Connect(t, f.NATS.URL())
	key := "Beeline-Api-Key: " + backendKey
	if h, _ := askNATS(t, conn, "batch", `{"operations":[`+one+`]}`, key); refusalOf(h) != "" {
		t.Fatal(h)
	}
	// The request fits; its answer, which says more, does not.
	large := `{"operations":[` + strings.Repeat(one+",", 24) + one + `]}`
	if h, got := askNATS(t, conn, "batch", large, key); refusalOf(h) != "500 Internal Server Error" || !strings.Contains(got, "ask for less at once") {
		t.Errorf("%v %.200s", h, got)
	}
	if status, text := ask(t, f.Nodes[0], "batch", large); status != http.StatusOK || len(text) < 1<<20 {
		t.Error("over HTTP:", status, len(text))
	}
}

func TestWhatBackendsHaveAskedOfANodeThatStopsIsAnsweredAndRemembered(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI(), fleet.Configure(func(c *node.Config) {
		c.APINATS = c.Node == "a1"
		c.Edge.AckTimeout = 8 * time.Second
	}))
	n, far := f.Nodes[0], f.Nodes[1]
	f.Dial(1, "bob")
	far.NATSLink.Freeze() // which has bob: the request does not end by itself before its node has stopped
	conn := brokertest.Connect(t, f.NATS.URL())
	const requests = 24 // more than go to Redis at a time
	answers := make(chan string, requests)
	go func() {
		body := "nothing" // it ends here if there is no answer
		defer func() { answers <- body }()
		_, body = ask(t, n, "send", aNamedSend, "Idempotency-Key: x0")
	}()
	for i := 1; i < requests; i++ {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), fleet.Patience)
			defer cancel()
			header := map[string][]string{"Beeline-Api-Key": {backendKey}, "Idempotency-Key": {fmt.Sprint("x", i)}}
			_, body, err := conn.Request(ctx, "a.api.send", header, []byte(aNamedSend))
			answers <- fmt.Sprint(string(body), err)
		}()
	}
	fleet.Eventually(t, "the requests are under way", func() bool {
		read, _ := n.Outcomes()
		return read == requests
	})
	n.RedisLink.Delay(100 * time.Millisecond) // so that it takes a while to keep the answers
	n.Stop(t)
	far.NATSLink.Restore()
	const unknown = `{"error":{"code":"unknown"`
	for i := range requests {
		if got := <-answers; !strings.HasPrefix(got, unknown) {
			t.Error("a backend is told:", got)
		}
		if _, entry := entryOf(t, f, fmt.Sprint("x", i)); !strings.Contains(entry, " 504 "+unknown) {
			t.Errorf("of a request is kept: %q", entry)
		}
	}
}
