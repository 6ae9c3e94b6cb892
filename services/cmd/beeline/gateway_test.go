package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/presence"
)

// gatewayConfigs returns a function that says what a gateway is told by some flags.
func gatewayConfigs(t *testing.T) func(args ...string) gatewayserver.Config {
	t.Helper()
	grammar, _, k := parser(t)
	return func(args ...string) gatewayserver.Config {
		t.Helper()
		if _, err := k.Parse(append([]string{"gateway"}, args...)); err != nil {
			t.Fatal(err)
		}
		cfg, err := grammar.Gateway.config()
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
}

// flagOfGateway says which flag sets which field of gatewayserver.Config, with a value that is not the default.
var flagOfGateway = map[string]string{
	"Listen": "listen=:1", "Admin": "admin=:2", "Profiles": "profiles", "TLSCert": "tls-cert=c", "TLSKey": "tls-key=k", "TicketKeys": "ticket-key=base64:x",
	"ProxyTrust": "proxy-trust=10.0.0.0/8", "Poll": "poll=1s", "Hold": "hold=1s", "DrainTime": "drain-time=1s",
	"Gateway.Cluster": "cluster=b", "Gateway.Peers": "peer=b=x:1", "Gateway.Proxy": "proxy-protocol",
	"TCPListen": "tcp-listen=:3", "Gateway.TCPPeers": "tcp-peer=b=x:3",
	"Gateway.MaxConnections": "max-connections=1", "Gateway.AnswerTime": "answer-time=1s", "Gateway.StallTime": "stall-time=1s",
	"Gateway.Probe": "probe=1s",
}

func TestEveryFieldOfAGatewayIsAFlag(t *testing.T) {
	t.Parallel()
	config := gatewayConfigs(t)
	plain := fields("", reflect.ValueOf(config()), map[string]any{})
	for name, before := range plain {
		if name == "Logger" || name == "Dial" || name == "Listener" || name == "TCPListener" || name == "Gateway.EdgeRoots" || strings.HasPrefix(name, "Redis.") { // a file, and those of an edge, tested there
			continue
		}
		flag, ok := flagOfGateway[name]
		if !ok {
			t.Errorf("gatewayserver.Config has %s, which no flag sets", name)
			continue
		}
		changed := fields("", reflect.ValueOf(config("--"+flag)), map[string]any{})
		for other := range plain {
			if same := reflect.DeepEqual(changed[other], plain[other]); same == (other == name) {
				t.Errorf("--%s: %s was %v and is %v", flag, other, before, changed[other])
			}
		}
	}
}

func TestDefaultsAreThoseOfTheGateway(t *testing.T) {
	t.Parallel()
	want := gatewayserver.DefaultConfig()
	want.Redis.Timeout = presence.DefaultTimeout
	want.Gateway.Peers, want.Gateway.TCPPeers = map[contracts.ClusterName][]string{}, map[contracts.ClusterName][]string{}
	if got := gatewayConfigs(t)(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestGatewayRefusesAConfigurationThatCannotWork(t *testing.T) {
	t.Parallel()
	config := gatewayConfigs(t)
	good := []string{"--ticket-key", "base64:x"}
	for _, args := range [][]string{
		{},
		append(good, "--cluster", "A B"),
		append(good, "--peer", "a=x:1"),
		append(good, "--peer", "b=x"),
		append(good, "--tls-cert", "c"),
		append(good, "--answer-time", "0s"),
		append(good, "--poll", "0s"),
		append(good, "--probe", "1ms"),
		append(good, "--probe=-1s"),
		append(good, "--max-connections", "0"),
	} {
		cfg := config(args...)
		if err := cfg.Validate(); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	cfg := config(good...)
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
