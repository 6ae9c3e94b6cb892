package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/beeline-rt/beeline/contracts"
)

func TestOverNATSHeadersCountInAnySpellingAsOverHTTP(t *testing.T) {
	t.Parallel()
	edge := &edgeFake{}
	a, _ := begin(edge)
	take := func(headers map[string][]string) (code int, id string) {
		a.Take(t.Context(), contracts.BackendSend, headers, []byte(aSend), func(status int, h http.Header, _ []byte) error {
			code, id = status, h.Get(RequestIDHeader)
			return nil
		})
		a.taken.Wait()
		return code, id
	}
	for _, same := range []map[string][]string{
		{"Beeline-Api-Key": {"key"}, "Idempotency-Key": {"x"}, "Beeline-Request-Id": {"mine"}},
		{"beeline-api-key": {"key"}, "idempotency-key": {"x"}, "beeline-request-id": {"mine"}},
		{"BEELINE-API-KEY": {"key"}, "IDEMPOTENCY-KEY": {"x"}, "BEELINE-REQUEST-ID": {"mine"}},
	} {
		if code, id := take(same); code != http.StatusOK || id != "mine" {
			t.Error(same, code, id)
		}
	}
	if did := strings.Join(edge.did, ", "); did != "post bob 1" {
		t.Errorf("what has one name was done as: %s", did)
	}
	// Two are two, however they are spelled.
	if code, _ := take(map[string][]string{"Beeline-Api-Key": {"key"}, "beeline-api-key": {"key"}}); code != http.StatusUnauthorized {
		t.Error("two keys:", code)
	}
	if code, _ := take(map[string][]string{"Beeline-Api-Key": {"key"}, "Idempotency-Key": {"x"}, "idempotency-key": {"y"}}); code != http.StatusBadRequest {
		t.Error("two names:", code)
	}
}

func TestAnAnswerThatIsTooLargeToSendIsCountedOnce(t *testing.T) {
	t.Parallel()
	a, _ := begin(&edgeFake{})
	var bodies []string
	a.Take(t.Context(), contracts.BackendSend, map[string][]string{"Beeline-Api-Key": {"key"}}, []byte(aSend), func(_ int, _ http.Header, body []byte) error {
		bodies = append(bodies, string(body))
		if len(bodies) == 1 {
			return ErrLarge
		}
		return nil
	})
	a.taken.Wait()
	if len(bodies) != 2 || !strings.Contains(bodies[0], `"delivered"`) || !strings.Contains(bodies[1], "it was carried out") {
		t.Fatal(bodies)
	}
	all := make(chan prometheus.Metric, 10)
	a.metrics.operations.Collect(all)
	close(all)
	n := 0.0
	for m := range all {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Error(err)
		}
		n += d.GetCounter().GetValue()
	}
	if n != 1 {
		t.Errorf("one operation has ended %v times", n)
	}
}
