package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
)

// edgeConfig returns what a node is told by these flags.
func edgeConfig(t *testing.T, args ...string) node.Config {
	t.Helper()
	return edgeConfigs(t)(args...)
}

// edgeConfigs returns a function like edgeConfig, for many calls.
func edgeConfigs(t *testing.T) func(args ...string) node.Config {
	t.Helper()
	grammar, _, k := parser(t)
	return func(args ...string) node.Config {
		t.Helper()
		return parseEdge(t, grammar, k, args)
	}
}

func parseEdge(t *testing.T, grammar *commands, k *kong.Kong, args []string) node.Config {
	t.Helper()
	if _, err := k.Parse(append([]string{"edge", "--node", "a1"}, args...)); err != nil {
		t.Fatal(err)
	}
	cfg, err := grammar.Edge.config()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// flagOfField says which flag sets which field of node.Config, with a value that is not the default.
var flagOfField = map[string]string{
	"Cluster": "cluster=b", "Node": "node=b9", "Peers": "peer-cluster=b,c", "Listen": "listen=:1", "Admin": "admin=:2", "Advertise": "advertise=ws://x/v1/ws",
	"Zone": "zone=eu-1", "Weight": "weight=2", "TLSCert": "tls-cert=c", "TLSKey": "tls-key=k", "ProxyTrust": "proxy-trust=10.1.2.3/8,::1", "Profiles": "profiles",
	"NATS.URLs": "nats-url=nats://x:1", "NATS.CredsFile": "nats-creds=edge_test.go", "NATS.Name": "nats-name=n",
	"Redis.Addrs": "redis-addr=x:1", "Redis.MasterName": "redis-sentinel-master=m", "Redis.Cluster": "redis-cluster",
	"Redis.Username": "redis-username=u", "Redis.Password": "redis-password=p", "Redis.SentinelUsername": "redis-sentinel-username=u",
	"Redis.SentinelPassword": "redis-sentinel-password=p", "Redis.DB": "redis-db=3", "Redis.TLS": "redis-tls", "Redis.Timeout": "redis-timeout=1s",
	"TokenKeys": "token-key=HS256:@f", "TokenIssuer": "token-issuer=i", "TokenAudience": "token-audience=a", "AllowSend": "allow-send=*",
	"AllowGroups": "allow-groups=*", "AllowWatch": "allow-watch=*", "Anonymous": "anonymous",
	"APIListen": "api-listen=:3", "APINATS": "api-nats", "APITLSCert": "api-tls-cert=c", "APITLSKey": "api-tls-key=k", "APIKeys": "api-keys=testdata/api-keys.yaml",
	"EventsURL": "events-url=http://x/", "EventsSecret": "events-secret=s", "Events": "events=undelivered",
	"HookURL": "hook-url=http://x/", "HookSecret": "hook-secret=s",
	"Edge.Origins": "origin=*", "Edge.Sessions": "sessions=single", "Edge.MaxFrame": "max-frame=32KiB", "Edge.MaxSessions": "max-sessions=5",
	"Edge.MaxAnonymous": "max-anonymous=5", "Edge.MaxPerClient": "max-per-client=6", "Edge.QueueBytes": "queue-bytes=2MiB", "Edge.WaitingBytes": "waiting-bytes=2MiB",
	"Edge.Routes": "routes=5000", "Edge.Groups": "max-groups=5", "Edge.Watches": "max-watches=5", "Edge.Linger": "linger=1s",
	"Edge.InFlight": "in-flight=5", "Edge.AuthTimeout": "auth-timeout=1s", "Edge.Heartbeat": "heartbeat=7s", "Edge.AckTimeout": "ack-timeout=1s",
	"Edge.WriteTime": "write-time=1s", "Edge.MessageRate": "message-rate=0", "Edge.MessageBurst": "message-burst=5",
	"Edge.ByteRate": "byte-rate=5", "Edge.ByteBurst": "byte-burst=5MiB", "Edge.RateStrikes": "rate-strikes=5",
	"TCPListen": "tcp-listen=:3", "TCPAdvertise": "tcp-advertise=tcp://x:3",
	"AllowCall": "allow-call=*", "Calls.Services": "services={orders: {key: data.cart}}", "Calls.Default.Policy": "call-policy=hash", "Calls.Default.Timeout": "call-timeout=1s",
	"Calls.Default.KeyIdle": "call-key-idle=1m", "Calls.Default.InFlight": "service-in-flight=5", "Edge.Calls": "max-calls=5", "Calls.Keys": "call-keys=1000",
	"Calls.MaxAnswer": "max-answer=32KiB",
	"LeaseTTL":        "lease-ttl=9s", "LeaseRenewal": "lease-renewal=2s", "DrainTime": "drain-time=1s", "StopTime": "stop-time=1s",
}

// notFlags are fields that a program sets, not a person. TLS of NATS is tested with real certificates.
var notFlags = map[string]bool{
	"Calls.Default.Key": true, "Calls.Default.HTTP": true, "Calls.Default.Health": true, // of single services
	"NATS.TLS": true, "NATS.InProcess": true, "NATS.Logger": true, "Redis.Dialer": true, "Logger": true, "Listener": true,
}

// fields returns the values of a configuration, by their path.
func fields(prefix string, v reflect.Value, into map[string]any) map[string]any {
	for i := range v.NumField() {
		name := prefix + v.Type().Field(i).Name
		if v.Field(i).Kind() == reflect.Struct {
			fields(name+".", v.Field(i), into)
			continue
		}
		into[name] = v.Field(i).Interface()
	}
	return into
}

func TestEveryFieldOfANodeIsAFlag(t *testing.T) {
	t.Parallel()
	config := edgeConfigs(t)
	plain := fields("", reflect.ValueOf(config()), map[string]any{})
	for name, before := range plain {
		if notFlags[name] {
			continue
		}
		flag, ok := flagOfField[name]
		if !ok {
			t.Errorf("node.Config has %s, which no flag sets", name)
			continue
		}
		changed := fields("", reflect.ValueOf(config("--"+flag)), map[string]any{})
		if reflect.DeepEqual(changed[name], before) {
			t.Errorf("--%s does not change %s", flag, name)
		}
		for other := range plain {
			if other != name && !notFlags[other] && !reflect.DeepEqual(changed[other], plain[other]) {
				t.Errorf("--%s changes %s, too", flag, other)
			}
		}
	}
}

func TestDefaultsAreThoseOfTheNode(t *testing.T) {
	t.Parallel()
	want := node.DefaultConfig()
	want.Node = "a1"
	want.LeaseTTL, want.LeaseRenewal = contracts.LeaseTTL, contracts.LeaseRenewal
	want.Redis.Timeout = presence.DefaultTimeout
	if got := edgeConfig(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestProxyTrustTakesAddressesAndNetworks(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(edgeConfig(t, "--proxy-trust", "10.1.2.3/8", "--proxy-trust", "192.0.2.1,::1").ProxyTrust)
	if got != "[10.0.0.0/8 192.0.2.1/32 ::1/128]" {
		t.Error(got)
	}
}

// fakeNode is a node that does nothing.
type fakeNode struct {
	done    chan struct{}
	err     error
	stopped bool
}

func (f *fakeNode) URL() string                { return "ws://127.0.0.1:1/v1/ws" }
func (f *fakeNode) AdminURL() string           { return "http://127.0.0.1:2" }
func (f *fakeNode) Done() <-chan struct{}      { return f.done }
func (f *fakeNode) Err() error                 { return f.err }
func (f *fakeNode) Stop(context.Context) error { f.stopped = true; return nil }

// starter returns a start of a fake node.
func (f *fakeNode) starter(context.Context, node.Config) (runningNode, error) { return f, nil }

func TestEdgeSaysThatItIsReadyAndStopsWhenTold(t *testing.T) {
	t.Parallel()
	n := &fakeNode{done: make(chan struct{})}
	b := begin(t, n.starter, "edge", "--node", "a1", "--anonymous")
	b.stdout.wait(t, "edge a1 of cluster a is ready: ws://127.0.0.1:1/v1/ws admin http://127.0.0.1:2\n")
	b.stop()
	if code := b.exit(t); code != exitOK || !n.stopped {
		t.Errorf("exit code %d, stopped %v: %s", code, n.stopped, b.stderr)
	}
}

func TestEdgeThatCannotGoOnSaysWhy(t *testing.T) {
	t.Parallel()
	n := &fakeNode{done: make(chan struct{}), err: errors.New("its lease was lost")}
	close(n.done)
	b := begin(t, n.starter, "edge", "--node", "a1", "--anonymous", "--log-level", "error")
	if code := b.exit(t); code != exitFailed || !n.stopped {
		t.Errorf("exit code %d, stopped %v", code, n.stopped)
	}
	if got := b.stderr.String(); got != "beeline: edge a1 cannot go on: its lease was lost\n" {
		t.Errorf("stderr has %q", got)
	}
}

func TestEdgeThatDoesNotStartIsOneLine(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		errors.New("no NATS there"):                               exitFailed,
		fmt.Errorf("%w: no such key", node.ErrConfig):             exitUsage,
		fmt.Errorf("%w: Sentinel or Cluster", presence.ErrConfig): exitUsage,
	} {
		b := begin(t, func(context.Context, node.Config) (runningNode, error) { return nil, err }, "edge", "--node", "a1", "--anonymous")
		if code := b.exit(t); code != want {
			t.Errorf("%v: exit code %d", err, code)
		}
		oneLine(t, b.stderr.String())
		if !strings.Contains(b.stderr.String(), err.Error()) {
			t.Errorf("stderr has %q", b.stderr)
		}
	}
}
