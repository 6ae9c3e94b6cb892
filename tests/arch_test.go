package tests

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/beeline-rt/beeline/"

// rules say what the production code under a folder may import of this project, and who alone may import what from
// outside. The first that matches a file counts.
var rules = []struct {
	folder string
	allow  []string
	why    string
}{
	{"contracts/tickettest/", []string{"contracts"}, "what tests share about tickets needs tickets only"},
	{"contracts/", nil, "contracts is what others agree on: it depends on nobody"},
	{"broker/", []string{"contracts", "broker"}, "broker carries; what it carries is decided above it"},
	{"services/cmd/", []string{"contracts", "broker", "services", "tools/client", "tools/backend", "tools/bench"}, "the commands sit on top of the services; tools/client and tools/bench are leaves that import contracts only"},
	{"services/node/", []string{"contracts", "broker", "services"}, "node wires the services, and nothing below it knows it"},
	{"services/apikey/", []string{"contracts"}, "apikey is a leaf that whoever serves backends imports: it knows what a key comes in, and not what is asked with it"},
	{"services/registryserver/", []string{"contracts", "services/apikey", "services/presence", "services/token", "services/hook", "services/registry", "services/httpserver"}, "registryserver wires a registry's process, as node does a node's, and nothing below it knows it"},
	{"services/httpserver/", nil, "httpserver is a leaf that whoever makes a process imports: it knows nothing of what is served"},
	{"services/gatewayserver/", []string{"contracts", "services/presence", "services/gateway", "services/rendezvous", "services/fleetview", "services/httpserver"}, "gatewayserver wires a gateway's process, as node does a node's, and nothing below it knows it"},
	{"services/gateway/", []string{"contracts", "services/gateway"}, "services do not import each other: declare an interface, and let gatewayserver pass it in"},
	{"services/registry/", []string{"contracts", "services/registry", "services/rendezvous", "services/fleetview", "services/apikey"}, "services do not import each other: declare an interface, and let registryserver pass it in; rendezvous, fleetview and apikey are leaves that those who must agree share"},
	{"services/fleetview/", []string{"contracts"}, "fleetview is a leaf: several import it, since they must believe the same of a fleet"},
	{"services/calls/", []string{"contracts", "broker", "services/calls", "services/rendezvous"}, "services do not import each other: declare an interface, and let node pass it in; edges that cannot ask the table of keys must agree on an order, as rendezvous computes it"},
	{"services/rendezvous/", []string{"contracts", "services/rendezvous"}, "rendezvous is a leaf: several services import it, since they must agree on every bit of it"},
	{"services/presence/presencetest", []string{"contracts", "services/presence"}, "a conformance suite knows its own package only"},
	{"services/edge/", []string{"contracts", "broker", "services/edge"}, "services do not import each other: declare an interface, and let node pass it in"},
	{"services/across/", []string{"contracts", "services/across"}, "services do not import each other: declare an interface, and let node pass it in"},
	{"services/presence/", []string{"contracts", "broker", "services/presence"}, "services do not import each other: declare an interface, and let node pass it in"},
	{"services/api/", []string{"contracts", "services/api", "services/apikey"}, "services do not import each other: declare an interface, and let node pass it in; but for the leaf apikey"},
	{"services/hook/", []string{"services/hook"}, "services do not import each other: declare an interface, and let node pass it in"},
	{"services/token/", []string{"services/token"}, "services do not import each other: declare an interface, and let node pass it in"},
	{"tools/client/", []string{"contracts", "tools/client"}, "the client library is for programs that know nothing of the servers"},
	{"tools/bench/", []string{"contracts", "tools/bench", "tools/client"}, "what measures the servers knows of them what any client does, and is charged to nobody"},
	{"tools/backend/", []string{"contracts", "broker", "tools/backend"}, "the backend library is for services that know nothing of the servers; it reaches NATS as they do, through broker"},
	{"tools/", []string{"contracts", "broker", "services", "tools"}, "tools may use all but the tests"},
	{"tests/", []string{"contracts", "broker", "services", "tools", "tests"}, ""},
}

// alone says which folder alone imports a library.
var alone = map[string]string{
	"github.com/nats-io/":         "broker/",
	"github.com/redis/":           "services/presence/",
	"github.com/olahol/melody":    "services/edge/",
	"github.com/golang-jwt/":      "services/token/",
	"github.com/expr-lang/":       "services/calls/",
	"github.com/cespare/xxhash/":  "services/rendezvous/",
	"github.com/alecthomas/kong":  "services/cmd/",
	"github.com/pires/":           "services/", // node reads the header, and gateway writes it
	"github.com/alicebob/":        "services/cmd/",
	"go.yaml.in/":                 "services/cmd/",
	"github.com/nats-io/nats.go/": "broker/",
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel("..", path)
		name = filepath.ToSlash(name)
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		checkImports(t, path, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Fatalf("only %d files were looked at", files)
	}
}

func checkImports(t *testing.T, path, name string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		if inside, ours := strings.CutPrefix(imported, module); ours {
			checkInside(t, name, inside)
			continue
		}
		for library, folder := range alone {
			if strings.HasPrefix(imported, library) && !strings.HasPrefix(name, folder) && !strings.HasPrefix(name, "tests/") &&
				!strings.Contains(name, "presencetest/") {
				t.Errorf("%s imports %s, which only %s does: so the library can be changed in one place", name, imported, folder)
			}
		}
		if strings.HasPrefix(name, "contracts/") && strings.Contains(imported, ".") {
			t.Errorf("%s imports %s: contracts needs the standard library only", name, imported)
		}
	}
}

func checkInside(t *testing.T, name, imported string) {
	t.Helper()
	for _, r := range rules {
		if !strings.HasPrefix(name, r.folder) {
			continue
		}
		for _, a := range r.allow {
			if imported == a || strings.HasPrefix(imported, a+"/") {
				return
			}
		}
		t.Errorf("%s imports %s: %s", name, imported, r.why)
		return
	}
	t.Errorf("%s is in no folder that the rules know", name)
}
