package registry

import (
	"net/http"
	"strings"
	"testing"
)

func TestPagesAskOnlyFromOriginsThatAreConfigured(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.org"
	for _, test := range []struct {
		name    string
		origins []string
		from    []string
		allowed bool
		told    string // as whom the page's browser is told to show it
	}{
		{"no browser", nil, nil, true, ""},
		{"none by default", nil, []string{app}, false, ""},
		{"configured", []string{"https://other.example.org", app}, []string{app}, true, app},
		{"in other letters", []string{app}, []string{"https://APP.example.org"}, true, "https://APP.example.org"},
		{"another port", []string{app}, []string{app + ":8443"}, false, ""},
		{"another scheme", []string{app}, []string{"http://app.example.org"}, false, ""},
		{"a longer name", []string{app}, []string{app + ".evil.example"}, false, ""},
		{"a part of it", []string{app}, []string{"https://app.example"}, false, ""},
		{"no origin that can be named", []string{app}, []string{"null"}, false, ""},
		{"two", []string{"*"}, []string{app, app}, false, ""},
		{"all", []string{"*"}, []string{"http://localhost:3000"}, true, "*"},
		{"no browser, some configured", []string{app}, nil, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := direct()
			cfg.Anonymous, cfg.Origins = true, test.origins
			r := begin(t, cfg, Options{Fleets: of(readies("a", 2)...)})
			var headers []string
			for _, o := range test.from {
				headers = append(headers, "Origin: "+o)
			}
			want := map[string]int{http.MethodPost: http.StatusOK, http.MethodOptions: http.StatusNoContent}
			for method, status := range want {
				got, h, body := ask(t, r, method, Path, `{"client":"alice"}`, append(headers, "Access-Control-Request-Method: POST")...)
				if !test.allowed {
					status = http.StatusForbidden
				}
				if got != status || h.Get("Access-Control-Allow-Origin") != test.told {
					t.Errorf("%s: %d %v %s", method, got, h, body)
				}
				if methods := h.Get("Access-Control-Allow-Methods"); (methods == http.MethodPost) != (method == http.MethodOptions && test.told != "") {
					t.Errorf("%s: the methods are %q", method, methods)
				}
				if strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "api-key") || h.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s: a page may send a backend's key, or cookies: %v", method, h)
				}
				if varies := len(test.origins) > 0 && test.origins[0] != "*"; (h.Get("Vary") == "Origin") != varies {
					t.Errorf("%s: Vary is %q", method, h.Get("Vary"))
				}
			}
		})
	}
}

func TestPageReadsWhyItIsRefusedAndForHowLong(t *testing.T) {
	t.Parallel()
	cfg := direct()
	cfg.Anonymous, cfg.Origins, cfg.Rate, cfg.Burst = true, []string{"*"}, 0.001, 1
	r := begin(t, cfg, Options{Fleets: of(readies("a", 2)...)})
	for i, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		status, h, _ := ask(t, r, http.MethodPost, Path, `{"client":"alice"}`, "Origin: https://app.example.org")
		if status != want || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Expose-Headers") != "Retry-After" || (h.Get("Retry-After") != "") != (i == 1) {
			t.Errorf("%d: %v", status, h)
		}
	}
}
