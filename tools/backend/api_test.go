package backend_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/broker/brokertest"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/backend"
)

func TestWhatIsNoAnswerIsUnknownAndNoSuccess(t *testing.T) {
	t.Parallel()
	conn := brokertest.Connect(t, brokertest.New(t).URL())
	answer := ""
	offer, err := conn.Offer(t.Context(), broker.OfferConfig{
		Name: "other", Subjects: map[string]contracts.Subject{"send": contracts.BackendSubject("a", contracts.BackendSend)},
		Handle: func(_ string, r *broker.Request) { _ = r.Answer(nil, []byte(answer)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer offer.Close(context.WithoutCancel(t.Context()))
	server := backend.NewAPI(conn, "a", "key")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, answer = range []string{"", "garbage", "null", "{}", `{"ok":7}`, `{"ok":{"status":"delivered"}}`} {
		var sent contracts.SendAnswer
		into, without := server.Do(ctx, contracts.BackendSend, 1, "", &sent), server.Do(ctx, contracts.BackendSend, 1, "", nil)
		if sent.Status == contracts.Delivered && into == nil && without == nil {
			continue // the twin
		}
		if problem, is := errors.AsType[*contracts.Error](into); !is || problem.Code != contracts.CodeUnknown {
			t.Errorf("%q: %v", answer, into)
		}
		if without == nil && answer != `{"ok":7}` { // of which nobody asks what it is
			t.Errorf("%q is taken for a success", answer)
		}
	}
}
