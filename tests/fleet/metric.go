package fleet

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Metric sums a metric over processes that live, as they say on their admin listeners; name may have labels, as name{label="value"}.
func Metric(tb testing.TB, admins []string, name string) (sum float64) {
	tb.Helper()
	for _, admin := range admins {
		req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, admin+"/metrics", nil)
		if err != nil {
			tb.Fatal(err)
		}
		resp, err := asking.Do(req)
		if err != nil {
			tb.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			tb.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			if strings.HasPrefix(line, name) && strings.ContainsAny(line[len(name):len(name)+1], "{ ") {
				v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
				if err != nil {
					tb.Fatal(err)
				}
				sum += v
			}
		}
	}
	return sum
}
