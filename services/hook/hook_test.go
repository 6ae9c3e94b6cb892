package hook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/beeline-rt/beeline/services/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func backend(t *testing.T, h http.HandlerFunc, cfg hook.Config) *hook.Hook {
	t.Helper()
	s := httptest.NewServer(h)
	cfg.URL = s.URL
	asked, err := hook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		asked.Close()
		s.Close()
	})
	return asked
}

func TestStatusIsTheAnswer(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		200: "yes", 204: "yes", 401: "no", 403: "no", 404: "no", 302: "none", 500: "none", 503: "none",
	} {
		h := backend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }, hook.Config{})
		ok, err := h.Allows(t.Context(), "join", "bob", "room")
		got := map[bool]string{true: "yes", false: "no"}[ok]
		if errors.Is(err, hook.ErrUnavailable) && !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("status %d: %s, not %s (%v)", status, got, want, err)
		}
	}
}

func TestQuestionIsSigned(t *testing.T) {
	t.Parallel()
	h := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte("secret"))
		mac.Write(body)
		if r.Header.Get(hook.SignatureHeader) != "sha256="+hex.EncodeToString(mac.Sum(nil)) ||
			string(body) != `{"op":"join","client":"bob","target":"room"}` {
			w.WriteHeader(http.StatusForbidden)
		}
	}, hook.Config{Secret: "secret"})
	if ok, err := h.Allows(t.Context(), "join", "bob", "room"); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestSilentBackendIsNoAnswer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	h := backend(t, func(http.ResponseWriter, *http.Request) { <-release }, hook.Config{Timeout: 50 * time.Millisecond, Most: 1})
	defer close(release)
	start := time.Now()
	if ok, err := h.Allows(t.Context(), "join", "bob", "room"); ok || !errors.Is(err, hook.ErrUnavailable) {
		t.Error(ok, err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestWrongAddressIsRefused(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "room", "ftp://x/", "http://", strings.Repeat("x", 10)} {
		if _, err := hook.New(hook.Config{URL: u}); !errors.Is(err, hook.ErrConfig) {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestErrorsDoNotRepeatTheAddress(t *testing.T) {
	t.Parallel()
	h, err := hook.New(hook.Config{URL: "http://user:word@127.0.0.1:1/secret?token=secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.Allows(t.Context(), "join", "bob", "room"); !errors.Is(err, hook.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
