package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
)

func TestWhatIsOfferedIsFoundByMicroAndSharedByThoseWhoOfferIt(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	var offers []*broker.Offer
	for _, who := range []string{"one", "two"} {
		o, err := broker.Connect(t.Context(), broker.Config{URLs: []string{url}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Close(context.WithoutCancel(t.Context())) })
		offer, err := o.Offer(t.Context(), broker.OfferConfig{
			Name: "calc", Metadata: map[string]string{"who": who}, Subjects: map[string]contracts.Subject{"double": "a.double", "half": "a.half"},
			Handle: func(endpoint string, r *broker.Request) {
				go func() { // from another goroutine, when the handler has returned
					h := map[string][]string{"Who": {who}}
					if len(r.Header["Word"]) != 1 {
						broker.Refused(h, "400", "no word")
					}
					if err := r.Answer(h, append([]byte(endpoint+" "), r.Data...)); err != nil {
						t.Error(err)
					}
				}()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		offers = append(offers, offer)
	}
	asking := brokertest.Connect(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const asks = 100
	by := map[string]int{}
	for range asks {
		h, data, err := asking.Request(ctx, "a.double", map[string][]string{"Word": {"x"}}, []byte("2"))
		if err != nil || string(data) != "double 2" {
			t.Fatal(err, string(data))
		}
		by[strings.Join(h["Who"], " ")]++
	}
	if by["one"]+by["two"] != asks || by["one"] == 0 || by["two"] == 0 {
		t.Errorf("answered by %v", by)
	}
	if h, data, err := asking.Request(ctx, "a.half", nil, nil); err != nil || string(data) != "half " || h[micro.ErrorCodeHeader][0] != "400" || h[micro.ErrorHeader][0] != "no word" {
		t.Error(err, h, string(data))
	}
	for { // it counts a request when the handler has returned, which may be after the answer
		requests, whos := statistics(t, url, "calc", 2)
		if requests == asks+1 && len(whos) == 2 {
			break
		}
		if requests > asks+1 || len(whos) != 2 || ctx.Err() != nil {
			t.Fatalf("micro knows of %v, and of %d requests", whos, requests)
		}
	}
	if _, _, err := asking.Request(ctx, "a.double", nil, make([]byte, 2<<20)); !errors.Is(err, broker.ErrPayload) {
		t.Error("a question that is too large:", err)
	}
	offers[0].Close(ctx)
	offers[0].Close(ctx)
	for range asks {
		if h, _, err := asking.Request(ctx, "a.double", map[string][]string{"Word": {"x"}}, nil); err != nil || h["Who"][0] != "two" {
			t.Fatal(h, err)
		}
	}
	offers[1].Close(ctx)
	if _, _, err := asking.Request(ctx, "a.double", nil, nil); !errors.Is(err, broker.ErrNobody) {
		t.Error("nobody is left, and", err)
	}
}

// statistics asks micro for those of a service of n instances, as any program can.
func statistics(t *testing.T, url, service string, n int) (requests int, whos map[string]bool) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$SRV.STATS."+service, sub.Subject, nil); err != nil {
		t.Fatal(err)
	}
	whos = map[string]bool{}
	for range n {
		m, err := sub.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var stats micro.Stats
		if err := json.Unmarshal(m.Data, &stats); err != nil {
			t.Fatal(err)
		}
		whos[stats.Metadata["who"]] = true
		for _, e := range stats.Endpoints {
			requests += e.NumRequests
		}
	}
	return requests, whos
}

func TestAnswersGoToInboxesAndNowhereElse(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	offering := brokertest.Connect(t, url)
	offer, err := offering.Offer(t.Context(), broker.OfferConfig{
		Name: "calc", Subjects: map[string]contracts.Subject{"double": "a.double"},
		Handle: func(_ string, r *broker.Request) {
			if err := r.Answer(nil, r.Data); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer offer.Close(context.WithoutCancel(t.Context()))
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	all, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	// Those who may only ask are not to speak through those who answer: a node believes who tells it that an instance is missed.
	inbox := nats.NewInbox()
	for _, reply := range []string{"a.missed.orders.i-1.7", "a.rollcall", "b.node.b1.0", "$JS.API.STREAM.DELETE.x", inbox} {
		if err := nc.PublishRequest("a.double", reply, []byte(reply)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		m, err := all.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == inbox {
			return
		}
		if m.Subject != "a.double" {
			t.Errorf("it was answered to %s", m.Subject)
		}
	}
}

func TestRequestsThatAreDroppedAreCounted(t *testing.T) {
	t.Parallel()
	url := brokertest.New(t).URL()
	offering, asking := brokertest.Connect(t, url), brokertest.Connect(t, url)
	over := make(chan struct{})
	offer, err := offering.Offer(t.Context(), broker.OfferConfig{
		Name: "calc", Subjects: map[string]contracts.Subject{"double": "a.double"}, Handle: func(string, *broker.Request) { <-over },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer offer.Close(context.WithoutCancel(t.Context()))
	defer close(over)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil && offering.Slow() == 0 {
		asked, enough := context.WithTimeout(ctx, time.Microsecond) // nobody waits for an answer
		_, _, _ = asking.Request(asked, "a.double", nil, nil)
		enough()
	}
	if offering.Slow() == 0 {
		t.Error("nothing is dropped, or nobody says so")
	}
}

func TestWhatIsOfferedIsClosedAtOnceWhileThereIsNoConnection(t *testing.T) {
	t.Parallel()
	server := brokertest.New(t)
	link := brokertest.NewLink(t, server.URL())
	conn := brokertest.Connect(t, "nats://"+link.Addr())
	offer, err := conn.Offer(t.Context(), broker.OfferConfig{
		Name: "calc", Subjects: map[string]contracts.Subject{"double": "a.double"}, Handle: func(string, *broker.Request) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	link.Cut()
	for conn.Connected() {
		<-time.After(time.Millisecond)
	}
	began := time.Now()
	offer.Close(t.Context())
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("it took %v, for which the drain of the node waits", took)
	}
}
