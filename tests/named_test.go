package tests

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
)

const (
	aNamedSend = `{"from":"shop","to":"bob","data":7}`
	delivered  = `200 {"ok":{"status":"delivered"}}`
)

// entryOf is what Redis has of a request with a name; the key and the entry are empty if there is none.
func entryOf(t *testing.T, f *fleet.Fleet, name string) (key, entry string) {
	t.Helper()
	key = string(contracts.NamedKey("a", contracts.NamedRequest{Key: "all", Name: name}))
	return key, f.Redis.Client(t).Get(t.Context(), key).Val()
}

func TestARequestOfTheSameNameIsCarriedOutOnceInTheCluster(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	bob := f.Dial(1, "bob")
	const same = "Idempotency-Key: order-7"
	var all sync.WaitGroup
	for i := range 20 { // at once
		all.Go(func() { answered(t, f.Nodes[i%2], "send", aNamedSend, delivered, same) })
	}
	all.Wait()
	bob.Expect("shop", "7")
	for _, n := range f.Nodes { // and later
		answered(t, n, "send", aNamedSend, delivered, same)
		if status, text := ask(t, n, "send", `{"from":"shop","to":"bob","data":8}`, same); status != 422 {
			t.Error("with another body:", status, text)
		}
		if status, text := ask(t, n, "broadcast", `{"from":"shop","to":["bob"],"data":7}`, same); status != 422 {
			t.Error("of another operation:", status, text)
		}
	}
	answered(t, f.Nodes[0], "send", `{"from":"shop","to":"bob","data":9}`, delivered, "Idempotency-Key: order-9")
	bob.Expect("shop", "9") // and nothing before it
	if got := f.Nodes[0].Value("beeline_api_replays_total") + f.Nodes[1].Value("beeline_api_replays_total"); got != 21 {
		t.Errorf("%v answers from memory", got)
	}
	for _, n := range f.Nodes { // without a name, each is another
		answered(t, n, "send", aNamedSend, delivered)
		bob.Expect("shop", "7")
	}
	for _, bad := range []string{"Idempotency-Key: ", "Idempotency-Key: " + strings.Repeat("k", 256)} {
		if status, text := ask(t, f.Nodes[0], "send", aNamedSend, bad); status != 400 {
			t.Error(status, text)
		}
	}
	// The twin: with nothing remembered, the same is done again, and seen.
	key, entry := entryOf(t, f, "order-7")
	if n, err := f.Redis.Client(t).Del(t.Context(), key).Result(); n != 1 || err != nil {
		t.Fatalf("%d %v %q", n, err, entry)
	}
	answered(t, f.Nodes[1], "send", aNamedSend, delivered, same)
	bob.Expect("shop", "7")
}

func TestAnOutcomeIsAnAnswerAndThatNothingWasDoneIsNot(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	for _, n := range f.Nodes {
		answered(t, n, "send", `{"from":"shop","to":"eve","data":1}`, "404 "+offlineAnswer, "Idempotency-Key: e")
	}
	eve := f.Dial(1, "eve")
	answered(t, f.Nodes[1], "send", `{"from":"shop","to":"eve","data":1}`, "404 "+offlineAnswer, "Idempotency-Key: e")
	// What was refused may be asked again under its name, also as something else.
	if status, text := ask(t, f.Nodes[0], "tokens", `{"client":"eve"}`, "Idempotency-Key: f"); status != 403 {
		t.Error(status, text)
	}
	if _, entry := entryOf(t, f, "f"); entry != "" {
		t.Errorf("it is remembered as %q", entry)
	}
	for _, n := range f.Nodes {
		answered(t, n, "send", `{"from":"shop","to":"eve","data":2}`, delivered, "Idempotency-Key: f")
	}
	eve.Expect("shop", "2")
	if rest := eve.Leave(); len(rest) > 0 {
		t.Errorf("eve got %v, too", rest)
	}
}

func TestARequestWhoseEdgeDiedIsUnknownAndNotDoneAgain(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	bob := f.Dial(1, "bob")
	dies, lives := f.Nodes[0], f.Nodes[1]
	answered(t, dies, "send", `{"from":"shop","to":"bob","data":0}`, delivered)
	bob.Expect("shop", "0")

	lives.NATSLink.Freeze() // so that it takes a while
	var asked sync.WaitGroup
	asked.Go(func() { _, _ = ask(t, dies, "send", aNamedSend, "Idempotency-Key: x") })
	var key, entry string
	fleet.Eventually(t, "the request is under way", func() bool {
		key, entry = entryOf(t, f, "x")
		read, _ := dies.Outcomes()
		return entry != "" && read == 2 // it is carried out
	})
	dies.RedisLink.Cut() // it is dead to the others
	dies.NATSLink.Cut()
	lives.NATSLink.Restore()
	asked.Wait()
	if dies.Value("beeline_api_answers_lost_total") != 1 {
		t.Error("the answer was not lost")
	}
	fields := strings.Fields(entry)
	began, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
	if err != nil || len(fields) != 4 || fields[2] != "0" {
		t.Fatalf("%q is not under way", entry)
	}
	// The time in which it may still have ended need not be waited for here.
	fields[3] = strconv.FormatInt(began-(10*time.Second).Milliseconds(), 10)
	if err := f.Redis.Client(t).Set(t.Context(), key, strings.Join(fields, " "), redis.KeepTTL).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, text := ask(t, lives, "send", aNamedSend, "Idempotency-Key: x"); status != 504 || !strings.Contains(text, `"unknown"`) {
			t.Error(status, text)
		}
	}
	if status, text := ask(t, lives, "send", `{"from":"shop","to":"bob","data":8}`, "Idempotency-Key: x"); status != 422 {
		t.Error(status, text)
	}
	if left := f.Redis.Client(t).PTTL(t.Context(), key).Val(); left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("that is so for %v", left)
	}
	answered(t, lives, "send", `{"from":"shop","to":"bob","data":9}`, delivered)
	got := ""
	for !strings.HasSuffix(got, "9") {
		if e := bob.Next(); e.Msg != nil {
			got += string(e.Msg.Data)
		}
	}
	if got != "9" && got != "79" {
		t.Errorf("bob got %s", got)
	}
	dies.RedisLink.Restore()
	dies.NATSLink.Restore()
}

func TestWithoutRedisANamedRequestIsNotDone(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2, withAPI())
	bob := f.Dial(1, "bob")
	n := f.Nodes[0]
	answered(t, n, "send", `{"from":"shop","to":"bob","data":0}`, delivered)
	bob.Expect("shop", "0")
	before := n.RedisLink.Broken()
	n.RedisLink.Cut()
	for range 3 {
		if status, text := ask(t, n, "send", aNamedSend, "Idempotency-Key: x"); status != 503 || !strings.Contains(text, `"unavailable"`) {
			t.Error(status, text)
		}
	}
	if n.RedisLink.Broken() == before {
		t.Error("Redis was not away")
	}
	if _, entry := entryOf(t, f, "x"); entry != "" {
		t.Errorf("it is noted: %q", entry)
	}
	for i := range 3 { // the same without a name needs no memory
		answered(t, n, "send", fmt.Sprintf(`{"from":"shop","to":"bob","data":%d}`, i), delivered)
		bob.Expect("shop", fmt.Sprint(i))
	}
	n.RedisLink.Restore()
	fleet.Eventually(t, "Redis is back", func() bool {
		status, _ := ask(t, n, "send", aNamedSend, "Idempotency-Key: x")
		return status == 200
	})
	answered(t, f.Nodes[1], "send", aNamedSend, delivered, "Idempotency-Key: x")
	bob.Expect("shop", "7")
	if rest := bob.Leave(); len(rest) > 0 {
		t.Errorf("bob got %v, too", rest)
	}
}
