package api_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/api"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.Document)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentHasWhatTheHandlersServeAndNothingElse(t *testing.T) {
	t.Parallel()
	doc := document(t)
	want := []string{"GET " + api.DocumentPath}
	for _, op := range api.Operations() {
		want = append(want, "POST /v1/"+string(op))
	}
	var told []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			told = append(told, method+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(told)
	if !slices.Equal(want, told) {
		t.Errorf("served: %q\ntold:   %q", want, told)
	}
	// What is told is served, by the handler itself: without a key, 401 is from an operation, and 404 from none.
	h := api.New(api.Options{}).Handler(t.Context())
	for _, each := range append(told, "POST /v1/nothing") {
		method, path, _ := strings.Cut(each, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		wanted := http.StatusUnauthorized
		switch path {
		case api.DocumentPath:
			wanted = http.StatusOK
		case "/v1/nothing":
			wanted = http.StatusNotFound
		}
		if w.Code != wanted {
			t.Errorf("%s: %d", each, w.Code)
		}
	}
}

// The decoder and the document agree: examples are read, each member that the document names is one that the decoder knows,
// and each that it requires is required.
func TestTheDocumentAndTheDecoderAgreeOnRequests(t *testing.T) {
	t.Parallel()
	doc := document(t)
	for _, op := range api.Operations() {
		content := doc.Paths.Value("/v1/" + string(op)).Post.RequestBody.Value.Content["application/json"]
		example, ok := content.Example.(map[string]any)
		if !ok {
			t.Errorf("%s has no example", op)
			continue
		}
		decodes := func(body map[string]any) bool {
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			if op == contracts.BackendBatch {
				_, bad := contracts.DecodeBackendBatch(text)
				return bad == nil
			}
			_, bad := contracts.DecodeBackendRequest(op, text)
			return bad == nil
		}
		if !decodes(example) {
			t.Errorf("%s: the example is refused", op)
		}
		schema := content.Schema.Value
		for name := range example {
			less := map[string]any{}
			for n, v := range example {
				if n != name {
					less[n] = v
				}
			}
			if required := slices.Contains(schema.Required, name); decodes(less) == required {
				t.Errorf("%s without %s: required is %v", op, name, required)
			}
		}
		for name, property := range schema.Properties {
			more := maps.Clone(example)
			more[name] = sample(property.Value)
			if example[name] == nil && !decodes(more) {
				t.Errorf("%s: %s is refused", op, name)
			}
		}
	}
}

// sample is a value that a schema allows.
func sample(s *openapi3.Schema) any {
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type.Is("integer"):
		return s.Min
	case s.Type.Is("array"):
		return []any{"a"}
	case strings.Contains(s.Pattern, "32"):
		return contracts.NewSessionID()
	}
	return "a"
}
