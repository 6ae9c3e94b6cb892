package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/apikey"
)

// tokens takes `token-of-` and a client for a token.
type tokens struct{}

var errToken = errors.New("the token has expired")

func (tokens) Verify(s string) (contracts.ClientID, error) {
	client, ok := strings.CutPrefix(s, "token-of-")
	if !ok {
		return "", errToken
	}
	return contracts.ClientID(client), nil
}

// arbiter lets bob in, keeps eve out, and does not know the others.
type arbiter struct{}

func (arbiter) Allows(_ context.Context, op, client, target string) (bool, error) {
	switch {
	case op != "connect" || target != "room":
		return false, errors.New(op + " " + target)
	case client == "bob":
		return true, nil
	case client == "eve":
		return false, nil
	}
	return false, errors.New("no answer")
}

func ask(t *testing.T, r *Registry, method, path, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w.Code, w.Header(), w.Body.String()
}

const apiKey = "a-key-that-is-random-and-long"

func apiKeys() []apikey.Hash { return []apikey.Hash{{}, apikey.Of(apiKey)} }

func TestEveryRefusalHasAStatusACodeAndASentence(t *testing.T) {
	t.Parallel()
	r := begin(t, direct(), Options{Fleets: of(readies("a", 2)...), Verifier: tokens{}, APIKeys: apiKeys()})
	key, alice := "Beeline-Api-Key: "+apiKey, "Authorization: Bearer token-of-alice"
	for name, test := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code               contracts.Code
	}{
		"a client by its token":       {"POST", Path, ``, []string{alice}, 200, ""},
		"a client that names itself":  {"POST", Path, `{"client":"alice"}`, []string{alice}, 200, ""},
		"a client and a room":         {"POST", Path, `{"key":"room","class":"default","zone":"eu"}`, []string{alice}, 200, ""},
		"a backend":                   {"POST", Path, `{"client":"bob"}`, []string{key}, 200, ""},
		"lower case scheme":           {"POST", Path, ``, []string{"Authorization: bearer token-of-alice"}, 200, ""},
		"nobody":                      {"POST", Path, `{"client":"bob"}`, nil, 401, contracts.CodeUnauthorized},
		"a token that is no good":     {"POST", Path, ``, []string{"Authorization: Bearer x"}, 401, contracts.CodeUnauthorized},
		"another scheme":              {"POST", Path, ``, []string{"Authorization: Basic token-of-alice"}, 401, contracts.CodeUnauthorized},
		"a token that is too long":    {"POST", Path, ``, []string{alice + strings.Repeat("x", 9000)}, 401, contracts.CodeUnauthorized},
		"a wrong API key":             {"POST", Path, `{"client":"bob"}`, []string{key + "x"}, 401, contracts.CodeUnauthorized},
		"an empty API key":            {"POST", Path, `{"client":"bob"}`, []string{"Beeline-Api-Key: "}, 401, contracts.CodeUnauthorized},
		"a hash as an API key":        {"POST", Path, `{"client":"bob"}`, []string{"Beeline-Api-Key: " + strings.Repeat("0", 64)}, 401, contracts.CodeUnauthorized},
		"both":                        {"POST", Path, `{"client":"bob"}`, []string{key, alice}, 400, contracts.CodeBadRequest},
		"two keys":                    {"POST", Path, `{"client":"bob"}`, []string{key, key}, 400, contracts.CodeBadRequest},
		"for somebody else":           {"POST", Path, `{"client":"bob"}`, []string{alice}, 403, contracts.CodeForbidden},
		"a backend, for nobody":       {"POST", Path, `{}`, []string{key}, 400, contracts.CodeBadRequest},
		"an invalid client number":    {"POST", Path, `{"client":"a b"}`, []string{key}, 400, contracts.CodeBadRequest},
		"a class that there is not":   {"POST", Path, `{"class":"rooms"}`, []string{alice}, 400, contracts.CodeBadRequest},
		"a host":                      {"POST", Path, `{"host":"evil.example"}`, []string{alice}, 400, contracts.CodeBadRequest},
		"not JSON":                    {"POST", Path, `client=bob`, []string{key}, 400, contracts.CodeBadRequest},
		"a body that is too large":    {"POST", Path, strings.Repeat(" ", 4097), []string{alice}, 413, contracts.CodeTooLarge},
		"a body that is large enough": {"POST", Path, strings.Repeat(" ", 4096), []string{alice}, 200, ""},
		"GET":                         {"GET", Path, ``, []string{alice}, 405, contracts.CodeBadRequest},
		"another path":                {"POST", "/v1/connection", ``, []string{alice}, 404, contracts.CodeBadRequest},
	} {
		status, header, body := ask(t, r, test.method, test.path, test.body, test.headers...)
		if status != test.status || header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, %v, %s", name, status, header, body)
			continue
		}
		if status == 200 {
			continue
		}
		var e contracts.Error
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code != test.code || len(e.Message) < 8 {
			t.Errorf("%s: %s, %v", name, body, err)
		}
		if strings.Contains(body, "evil") || strings.Contains(body, apiKey) {
			t.Errorf("%s: the answer repeats what was sent: %s", name, body)
		}
	}
}

func TestAnswerIsWhatREADMESays(t *testing.T) {
	t.Parallel()
	r := begin(t, direct(), Options{Fleets: of(readies("a", 6)...), Verifier: tokens{}})
	_, _, body := ask(t, r, "POST", Path, `{"key":"room-1"}`, "Authorization: Bearer token-of-alice")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != 6 {
		t.Fatalf("%s: %v", body, err)
	}
	var answer contracts.Connection
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	left := time.Until(time.Unix(answer.ExpiresAt, 0))
	if answer.Client != "alice" || answer.ExpiresIn != 60 || left > time.Minute || left < 55*time.Second || answer.Backoff != DefaultConfig().Backoff {
		t.Errorf("%+v", answer)
	}
	if len(answer.Alternates) != maxEndpoints-1 || strings.Contains(body, `\u0026`) {
		t.Error(body)
	}
}

func TestOneClientCannotAskForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := direct()
		cfg.Rate, cfg.Burst = 1, 3
		r := begin(t, cfg, Options{Fleets: of(readies("a", 2)...), APIKeys: apiKeys()})
		status := func(client string) (int, string) {
			code, header, _ := ask(t, r, "POST", Path, `{"client":"`+client+`"}`, "Beeline-Api-Key: "+apiKey)
			return code, header.Get("Retry-After")
		}
		for range 3 {
			if code, _ := status("alice"); code != 200 {
				t.Fatal(code)
			}
		}
		if code, after := status("alice"); code != 429 || after != "1" {
			t.Errorf("%d, Retry-After %q", code, after)
		}
		if code, _ := status("bob"); code != 200 {
			t.Errorf("bob pays for alice: %d", code)
		}
		<-time.After(time.Second)
		if code, _ := status("alice"); code != 200 {
			t.Errorf("after a second: %d", code)
		}
		if code, _ := status("alice"); code != 429 {
			t.Errorf("after a second, twice: %d", code)
		}
	})
}

func TestTheLimiterForgetsWhoWasQuiet(t *testing.T) {
	t.Parallel()
	l, now := newLimiter(1, 1), time.Now()
	for i := range 10 * firstSweep {
		l.take(now.Add(time.Duration(i)*time.Millisecond), contracts.ClientID(hex.EncodeToString([]byte{byte(i), byte(i >> 8), byte(i >> 16)})))
	}
	if n := len(l.whole); n > 2*firstSweep {
		t.Errorf("%d clients are remembered, of whom 1000 asked within the last second", n)
	}
}

func TestTheHookIsAskedAndItsSilenceIsNoYes(t *testing.T) {
	t.Parallel()
	r := begin(t, direct(), Options{Fleets: of(readies("a", 2)...), APIKeys: apiKeys(), Arbiter: arbiter{}})
	for client, want := range map[string]int{"bob": 200, "eve": 403, "mallory": 503} {
		if status, _, body := ask(t, r, "POST", Path, `{"key":"room","client":"`+client+`"}`, "Beeline-Api-Key: "+apiKey); status != want {
			t.Errorf("%s: %d %s", client, status, body)
		}
	}
}

func TestTheAllowListIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "clients")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# may connect\nalice\n\n")
	list, err := OpenAllowList(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, direct(), Options{Fleets: of(readies("a", 2)...), APIKeys: apiKeys(), Allowed: list})
		expect := func(when string, want ...int) {
			t.Helper()
			for i, client := range []string{"alice", "bob"} {
				if status, _, body := ask(t, r, "POST", Path, `{"client":"`+client+`"}`, "Beeline-Api-Key: "+apiKey); status != want[i] {
					t.Errorf("%s, %s: %d %s", when, client, status, body)
				}
			}
		}
		expect("at first", 200, 403)
		write("alice\nbob\n")
		<-time.After(3 * AllowListPoll)
		expect("changed", 200, 200)
		write("carol\nnot an id\n")
		<-time.After(3 * AllowListPoll)
		expect("spoilt", 200, 200)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * AllowListPoll)
		expect("gone", 200, 200)
		write("bob\n")
		<-time.After(3 * AllowListPoll)
		expect("right again", 403, 200)
	})
	for _, text := range []string{"a b\n", strings.Repeat("x", 200)} {
		write(text)
		if _, err := OpenAllowList(path); !errors.Is(err, ErrConfig) {
			t.Errorf("%.10q: %v", text, err)
		}
	}
}

func TestAnEmptyFleetIsUnavailable(t *testing.T) {
	t.Parallel()
	r := begin(t, direct(), Options{Fleets: of(), APIKeys: apiKeys()})
	status, header, body := ask(t, r, "POST", Path, `{"client":"bob"}`, "Beeline-Api-Key: "+apiKey)
	if reasons, _ := r.Ready(); status != 503 || header.Get("Retry-After") == "" || len(reasons) != 1 {
		t.Errorf("%d %v %s, ready %q", status, header, body, reasons)
	}
}
