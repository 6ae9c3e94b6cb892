package tests

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/token"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// keys are one key of each algorithm, as an operator would configure them, and the means to issue with them.
type keys struct {
	specs   []string
	issuing map[string]token.Key
}

func newKeys(t *testing.T) keys {
	t.Helper()
	k := keys{issuing: map[string]token.Key{}}
	for _, alg := range []string{token.HS256, token.RS256, token.ES256, token.EdDSA} {
		private, public, err := token.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		if public == nil {
			public = private
		}
		path := filepath.Join(t.TempDir(), alg)
		if err := os.WriteFile(path, public, 0o600); err != nil {
			t.Fatal(err)
		}
		k.specs = append(k.specs, alg+":@"+path)
		if k.issuing[alg], err = token.NewKey("", alg, private); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k keys) issue(t *testing.T, alg string, c token.Claims) string {
	t.Helper()
	s, err := token.Issue(k.issuing[alg], c, c.Expires.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func patterns(t *testing.T, list ...string) token.Patterns {
	t.Helper()
	p, err := token.NewPatterns(list...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// strict is a node as it ships: tokens only, and nobody may do what no rule allows.
func strict(k keys) fleet.Option {
	return fleet.Configure(func(c *node.Config) {
		c.Anonymous, c.AllowSend, c.TokenKeys = false, nil, k.specs
	})
}

func TestTokenComesInHeaderSubprotocolOrFirstFrame(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	f := fleet.New(t, 1, strict(k))
	for alg := range k.issuing {
		claims := token.Claims{Client: "bob-" + alg, Expires: time.Now().Add(time.Hour)}
		s := k.issue(t, alg, claims)
		header := f.Connect(0, http.Header{"Authorization": {"Bearer " + s}})
		browser := f.Connect(0, http.Header{"Sec-Websocket-Protocol": {contracts.Subprotocol + ", " + contracts.TokenSubprotocolPrefix + s}})
		frame := f.Connect(0, nil)
		frame.Raw(string(contracts.AppendAuth(nil, contracts.Auth{Token: s})))
		for name, c := range map[string]*fleet.Client{"header": header, "subprotocol": browser, "frame": frame} {
			if e := c.Next(); e.Ready == nil || string(e.Ready.Client) != claims.Client {
				t.Errorf("%s token in the %s: got %+v", alg, name, e)
			}
		}
		if got := browser.WS().Subprotocol(); got != contracts.Subprotocol {
			t.Errorf("the server chose the subprotocol %q", got)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	k, others := newKeys(t), newKeys(t)
	f := fleet.New(t, 1, strict(k))
	hour := token.Claims{Client: "bob", Expires: time.Now().Add(time.Hour)}
	old := token.Claims{Client: "bob", Expires: time.Now().Add(-time.Second)}
	bad := map[string]string{
		"forged HS256":   others.issue(t, token.HS256, hour),
		"forged EdDSA":   others.issue(t, token.EdDSA, hour),
		"expired":        k.issue(t, token.EdDSA, old),
		"algorithm none": "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJib2IiLCJleHAiOjQxMDI0NDQ4MDB9.",
		"no token":       "hello",
	}
	for name, s := range bad {
		if _, status, err := f.TryConnect(0, http.Header{"Authorization": {"Bearer " + s}}); err == nil || status != http.StatusUnauthorized {
			t.Errorf("%s in the header was not refused with 401: %v", name, err)
		}
		c := f.Connect(0, nil)
		c.Raw(string(contracts.AppendAuth(nil, contracts.Auth{Token: s})))
		if e := c.Next(); e.Error == nil || e.Error.Code != contracts.CodeUnauthorized {
			t.Errorf("%s in the first frame: got %+v", name, e)
		}
		if code := c.Closed(); code != int(contracts.CloseUnauthorized) {
			t.Errorf("%s in the first frame: closed with %d", name, code)
		}
	}
	c := f.Connect(0, nil)
	c.Raw(`{"auth":{"client":"bob"}}`)
	if e := c.Next(); e.Error == nil || e.Error.Code != contracts.CodeUnauthorized {
		t.Errorf("a name without a token: got %+v", e)
	}
}

func TestNobodyMaySendWhatNoRuleAllows(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	f := fleet.New(t, 1, strict(k))
	login := func(c token.Claims) *fleet.Client {
		c.Expires = time.Now().Add(time.Hour)
		client := f.Connect(0, http.Header{"Authorization": {"Bearer " + k.issue(t, token.HS256, c)}})
		if e := client.Next(); e.Ready == nil {
			t.Fatalf("got %+v", e)
		}
		return client
	}
	login(token.Claims{Client: "team:bob"})
	login(token.Claims{Client: "eve"})
	silent := login(token.Claims{Client: "silent"})
	some := login(token.Claims{Client: "some", Send: patterns(t, "team:*")})
	if got := silent.Send("eve", `1`); got != "forbidden" {
		t.Error("no rule:", got)
	}
	if got := some.Send("team:bob", `1`); got != "delivered" {
		t.Error("allowed:", got)
	}
	if got := some.Send("eve", `1`); got != "forbidden" {
		t.Error("not allowed:", got)
	}
}

func TestExpiredTokenEndsTheSession(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	synctest.Test(t, func(t *testing.T) {
		f := fleet.Bubble(t, 1, strict(k))
		start := time.Now()
		expires := start.Add(10 * time.Minute)
		c := f.Connect(0, http.Header{"Authorization": {"Bearer " + k.issue(t, token.EdDSA, token.Claims{Client: "bob", Expires: expires})}})
		if e := c.Next(); e.Ready == nil {
			t.Fatalf("got %+v", e)
		}
		if e, err := c.TryNext(9 * time.Minute); !errors.Is(err, fleet.ErrSilent) {
			t.Fatalf("before it expired: %+v, %v", e, err)
		}
		<-time.After(59 * time.Second) // fake time
		if code := c.Closed(); code != int(contracts.CloseUnauthorized) {
			t.Fatalf("closed with %d", code)
		}
		if late := time.Since(expires); late < 0 || late > 2*time.Second {
			t.Fatalf("closed %v after the token expired", late)
		}
	})
}
