package main

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
)

// parts returns the addresses of the parts with a name, one for each cluster.
func (b *background) parts(t *testing.T, name string) []string {
	t.Helper()
	var all []string
	for _, line := range regexp.MustCompile(`(?m)^  `+name+` +(\S+)`).FindAllStringSubmatch(b.stdout.String(), -1) {
		all = append(all, line[1])
	}
	return all
}

// ask asks a registry as curl does.
func ask(t *testing.T, registry, body string) (a contracts.Connection) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, registry+"/v1/connections", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "http://localhost:3000") // a page that somebody works on may ask, too
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%s, %v, %v", answer.Status, err, answer.Header)
	}
	return a
}

func TestDevSendsClientsThroughTheGatewaysOfItsTwoClusters(t *testing.T) {
	t.Parallel()
	dev, _ := startDev(t, "--redis", redisEmbedded)
	registries, gateways := dev.parts(t, "registry"), dev.parts(t, "gateway")
	if len(registries) != 2 || len(gateways) != 2 || len(dev.parts(t, `edge \w\d`)) != 4 || len(dev.parts(t, "NATS")) != 2 || len(dev.parts(t, "Redis")) != 2 {
		t.Fatalf("%s", dev.stdout)
	}
	for i, registry := range registries {
		for j, zone := range []string{"a", "b"} {
			answer := ask(t, registry, `{"client":"bob","zone":"`+zone+`"}`)
			if len(answer.Alternates) != 1 || !strings.HasPrefix(answer.Primary.URL, gateways[j]+"?") || !strings.HasPrefix(answer.Alternates[0].URL, gateways[1-j]+"?") {
				t.Fatalf("registry %d, zone %s: %+v", i, zone, answer)
			}
			// Bob by the other cluster's gateway, and alice in the other cluster by its own.
			name := "bob" + strconv.Itoa(i)
			bob := begin(t, nil, "listen", "--as", name, "--url", answer.Alternates[0].URL, "--count", "1")
			bob.stderr.wait(t, " of cluster "+zone+" as "+name+"\n")
			r := call(t, "", nil, "send", "--as", "alice", "--to", name, "--registry", registries[1-i], "--zone", []string{"b", "a"}[j], "1")
			if r != (result{exitOK, "delivered\n", ""}) {
				t.Errorf("%+v", r)
			}
			if code := bob.exit(t); code != exitOK {
				t.Errorf("listen ended with %d: %s", code, bob.stderr)
			}
		}
	}
}

func TestDevRegistriesHandOutRawTCP(t *testing.T) {
	t.Parallel()
	dev, urls := startDev(t, "--redis", redisEmbedded)
	registries, tcp := dev.parts(t, "registry"), regexp.MustCompile(`(?m)^  gateway .*(tcp://127\.0\.0\.1:\d+)`).FindAllStringSubmatch(dev.stdout.String(), -1)
	if len(tcp) != 2 {
		t.Fatalf("%s", dev.stdout)
	}
	for i, zone := range []string{"a", "b"} {
		answer := ask(t, registries[1-i], `{"client":"bob","zone":"`+zone+`","transport":"tcp"}`)
		if len(answer.Alternates) != 1 || !strings.HasPrefix(answer.Primary.URL, tcp[i][1]+"?") || !strings.HasPrefix(answer.Alternates[0].URL, tcp[1-i][1]+"?") {
			t.Errorf("zone %s: %+v", zone, answer)
		}
		name := "bob" + zone
		// Through the gateway of the other cluster, which passes him on.
		bob := begin(t, nil, "listen", "--as", name, "--url", answer.Alternates[0].URL, "--count", "2")
		bob.stderr.wait(t, " of cluster "+zone+" as "+name+"\n")
		for _, place := range [][]string{{"--registry", registries[i], "--transport", "tcp"}, {"--url", urls[0]}} {
			if r := call(t, "", nil, append([]string{"send", "--as", "alice", "--to", name, "1"}, place...)...); r != (result{exitOK, "delivered\n", ""}) {
				t.Errorf("%+v", r)
			}
		}
		if code := bob.exit(t); code != exitOK {
			t.Errorf("listen ended with %d: %s", code, bob.stderr)
		}
	}
}

func TestListenAsksTheRegistryAgainWhenItsEdgeIsGone(t *testing.T) {
	t.Parallel()
	edges := make(chan runningNode, 8)
	dev := begin(t, func(ctx context.Context, cfg node.Config) (runningNode, error) {
		n, err := startNode(ctx, cfg)
		edges <- n
		return n, err
	}, "dev", "--port", "0", "--redis", redisEmbedded)
	devURLs(t, dev)
	registries := dev.parts(t, "registry")
	// The first of these is none; the key is the same, and so is the edge.
	args := []string{"--registry", "http://127.0.0.1:1," + registries[1], "--place-key", "room"}
	bob := begin(t, nil, append([]string{"listen", "--as", "bob"}, args...)...)
	first := regexp.MustCompile(`edge (\w\d) of`).FindStringSubmatch(bob.stderr.wait(t, "connected to edge "))[1]
	other := begin(t, nil, append([]string{"listen", "--as", "carol"}, args...)...)
	other.stderr.wait(t, "connected to edge "+first+" of")
	for _, name := range []string{"a1", "a2", "b1", "b2"} {
		if n := <-edges; name == first {
			if err := n.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	bob.stderr.wait(t, "connected again to edge ")
	other.stderr.wait(t, "connected again to edge ")
	if strings.Contains(bob.stderr.String(), "again to edge "+first) {
		t.Errorf("%s", bob.stderr)
	}
}
