package tests

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// described asks a running node, and fails the test if the request or the answer is not as the document says. It returns the
// status.
func described(t *testing.T, router routers.Router, n *fleet.Node, op, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.APIURL()+"/v1/"+op, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(apikey.Header, backendKey)
	req.Header.Set(contracts.IdempotencyHeader, apikey.Of(op+body).String())
	route, params, err := router.FindRoute(req)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	described := openapi3filter.ValidateRequest(t.Context(), input)
	req.Body = io.NopCloser(strings.NewReader(body))
	resp, err := callers.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if (described == nil) == (resp.StatusCode == http.StatusBadRequest) {
		t.Errorf("%s %.200s: %d, and the document says: %.300v", op, body, resp.StatusCode, described)
	}
	answer := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header}
	answer.SetBodyBytes(bytes.Clone(text))
	if err := openapi3filter.ValidateResponse(t.Context(), answer); err != nil {
		t.Errorf("%s %.200s: %s is not as the document says: %v", op, body, text, err)
	}
	return resp.StatusCode
}

func TestRealAnswersAreAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	f := fleet.New(t, 2, withAPI(), fleet.Configure(func(c *node.Config) {
		c.TokenKeys = []string{"HS256:@" + secret}
		c.APIKeys[0].Scopes = api.Scopes
	}))
	n := f.Nodes[0]
	status, text := request(t, "GET", n.APIURL()+api.DocumentPath, "")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil || status != 200 {
		t.Fatal(status, err)
	}
	doc.Servers = openapi3.Servers{{URL: n.APIURL()}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	bob := f.Connect(1, nil)
	bob.Raw(`{"auth":{"client":"bob","device":"phone-1"}}`)
	bob.Next()
	join(t, bob, "room")
	asked := map[string]bool{}
	for _, test := range []struct {
		op, body string
		want     int
	}{
		{"send", `{"from":"shop","to":"bob","data":null}`, 200},
		{"send", `{"from":"shop","to":"eve","data":[1,{"a":"b"}]}`, 404},
		{"send", `{"from":"shop","to":"eve"}`, 400},
		{"send", `{"from":"sh op","to":"eve","data":1}`, 400},
		{"send", `{"from":"shop","to":"eve","data":"` + strings.Repeat("x", contracts.DefaultMaxFrame) + `"}`, 413},
		{"publish", `{"from":"shop","group":"room","data":1}`, 200},
		{"publish", `{"from":"shop","group":["room"],"data":1}`, 400},
		{"broadcast", `{"from":"shop","to":["bob","eve"],"data":1}`, 200},
		{"broadcast", `{"from":"shop","to":[],"data":1}`, 400},
		{"presence", `{"clients":["bob","eve"]}`, 200},
		{"presence", `{"clients":"bob"}`, 400},
		{"members", `{"group":"room","after":"a","limit":1}`, 200},
		{"members", `{"group":"none"}`, 200},
		{"members", `{"group":"room","limit":1001}`, 400},
		{"tokens", `{"client":"bob","ttl_s":5,"send":["a*"],"groups":[],"watch":["*"],"call":["x"]}`, 200},
		{"tokens", `{"client":"bob","ttl_s":2592001}`, 400},
		{"batch", `{"operations":[{"send":{"from":"shop","to":"bob","data":1}},{"presence":{"clients":["bob"]}},{"members":{"group":"room"}}]}`, 200},
		{"batch", `{"operations":[]}`, 400},
		{"disconnect", `{"client":"bob","retry":"later"}`, 400},
		{"disconnect", `{"client":"bob","session":"00112233445566778899aabbccddeeff","retry":"token"}`, 200},
		{"disconnect", `{"client":"bob"}`, 200},
	} {
		if got := described(t, router, n, test.op, test.body); got != test.want {
			t.Errorf("%s %.100s: %d, not %d", test.op, test.body, got, test.want)
		}
		asked[test.op] = true
	}
	for _, op := range api.Operations() {
		if !asked[string(op)] {
			t.Errorf("%s was not asked for", op)
		}
	}
	// The examples of the document are taken, as they stand there.
	for path, item := range doc.Paths.Map() {
		if item.Post == nil {
			continue
		}
		example, err := json.Marshal(item.Post.RequestBody.Value.Content["application/json"].Example)
		if err != nil {
			t.Fatal(err)
		}
		if got := described(t, router, n, strings.TrimPrefix(path, "/v1/"), string(example)); got != 200 && got != 404 {
			t.Errorf("%s %s: %d", path, example, got)
		}
	}
}
