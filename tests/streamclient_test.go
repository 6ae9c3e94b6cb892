package tests

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/tests/fleet"
	"github.com/beeline-rt/beeline/tools/client"
)

// certify makes a certificate for this machine, and returns its files and what trusts it.
func certify(t *testing.T) (cert, key string, trust *tls.Config) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	pool := x509.NewCertPool()
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return cert, key, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// library connects the Go client, and returns what it gets.
func library(t *testing.T, url string, name contracts.ClientID, trust *tls.Config) (*client.Client, chan client.Message) {
	t.Helper()
	got := make(chan client.Message, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), fleet.Patience)
	defer cancel()
	c, err := client.Dial(ctx, url, client.Options{
		Client: name, TLS: trust, Handler: func(m client.Message) { got <- m },
		Backoff: client.Backoff{First: 50 * time.Millisecond, Base: 10 * time.Millisecond, Cap: 100 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, got
}

func expectFrom(t *testing.T, got chan client.Message, from contracts.ClientID, data string) {
	t.Helper()
	select {
	case m := <-got:
		if m.From != from || string(m.Data) != data {
			t.Errorf("got %s from %s, not %s from %s", m.Data, m.From, data, from)
		}
	case <-time.After(fleet.Patience):
		t.Fatalf("nothing from %s", from)
	}
}

func TestGoClientTalksOverTCPAndTLSAndComesBack(t *testing.T) {
	t.Parallel()
	cert, key, trust := certify(t)
	for name, secure := range map[string]bool{"tcp": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := fmt.Sprint("127.0.0.1:", fleet.FreePort(t)) // to come back to
			f := fleet.New(t, 2, fleet.Configure(func(c *node.Config) {
				if c.Node == "a1" {
					c.TCPListen = first
				}
				if secure {
					c.TLSCert, c.TLSKey = cert, key
				}
			}))
			url := f.Nodes[0].TCPURL()
			if url != name+"://"+first {
				t.Fatal(url)
			}
			alice, toAlice := library(t, url, "alice", trust)
			bob, toBob := library(t, f.Nodes[1].URL(), "bob", trust)
			if err := alice.Join(t.Context(), "room"); err != nil {
				t.Fatal(err)
			}
			large := `"` + strings.Repeat("x", 50_000) + `"`
			for _, data := range []string{`1`, large} {
				if got, err := alice.Send(t.Context(), "bob", []byte(data)); err != nil || got.Status != contracts.Delivered {
					t.Fatal(got, err)
				}
				expectFrom(t, toBob, "alice", data)
				if got, err := bob.Send(t.Context(), "alice", []byte(data)); err != nil || got.Status != contracts.Delivered {
					t.Fatal(got, err)
				}
				expectFrom(t, toAlice, "bob", data)
			}
			f.Nodes[0].Stop(t)
			fleet.Eventually(t, "it has noticed", func() bool { return alice.State() != client.Online })
			f.Start(0)
			fleet.Eventually(t, "it is there again", func() bool { return alice.State() == client.Online })
			if _, err := bob.Publish(t.Context(), "room", []byte(`2`)); err != nil {
				t.Fatal(err)
			}
			expectFrom(t, toAlice, "bob", `2`) // it has joined its group again
			if err := alice.Close(); err != nil {
				t.Error(err)
			}
			fleet.Eventually(t, "it is offline", func() bool {
				_, err := bob.Send(t.Context(), "alice", []byte(`3`))
				return err != nil
			})
		})
	}
}
