package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/beeline-rt/beeline/contracts"
)

func TestWhatIsUnderWayIsNotForgottenForWantOfMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var end func(i int, o contracts.Outcome, nodes int)
		e := &edgeFake{post: func(done func(int, contracts.Outcome, int)) { end = done }}
		a, ask := begin(e)
		first := make(chan *httptest.ResponseRecorder)
		go func() { first <- ask("send", aSend, "Idempotency-Key: x") }()
		synctest.Wait()
		memory, body := a.callers[0].answers, make([]byte, 1<<20)
		for i := range 2 * answersSize / len(body) {
			_, _, _ = memory.once(t.Context(), fmt.Sprint(i), "send", nil, func() reply { return reply{status: 200, body: body, keep: true} })
		}
		again := make(chan *httptest.ResponseRecorder)
		go func() { again <- ask("send", aSend, "Idempotency-Key: x") }()
		synctest.Wait()
		end(0, contracts.Delivered, 0)
		for name, asked := range map[string]chan *httptest.ResponseRecorder{"first": first, "again": again} {
			if w := <-asked; w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "delivered") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if len(e.did) != 1 {
			t.Errorf("it was done %d times", len(e.did))
		}
		for f := memory.order.Front(); f != nil; f = f.Next() {
			memory.size -= f.Value.(*kept).cost()
		}
		if memory.size != 0 {
			t.Errorf("%d bytes are counted too many", memory.size)
		}
	})
}
