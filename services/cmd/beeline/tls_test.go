package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate writes a certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLSFlags(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	cfg := edgeConfig(t, "--nats-ca", cert, "--nats-cert", cert, "--nats-key", key, "--redis-ca", cert)
	if c := cfg.NATS.TLS; c == nil || c.RootCAs == nil || len(c.Certificates) != 1 {
		t.Errorf("NATS has %+v", c)
	}
	if c := cfg.Redis.TLS; c == nil || c.RootCAs == nil || len(c.Certificates) != 0 {
		t.Errorf("Redis has %+v", c)
	}
	if cfg := edgeConfig(t); cfg.NATS.TLS != nil || cfg.Redis.TLS != nil {
		t.Error("TLS without being asked for")
	}
	gateway := gatewayConfigs(t)
	if gateway("--edge-ca", cert).Gateway.EdgeRoots == nil || gateway().Gateway.EdgeRoots != nil {
		t.Error("--edge-ca is not what edges are held against")
	}
	call(t, "", nil, "gateway", "--edge-ca", key).refused(t, "--edge-ca", "no certificate")
	edge := []string{"edge", "--node", "a1", "--anonymous"}
	call(t, "", nil, append(edge, "--nats-ca", key)...).refused(t, "--nats-ca", "no certificate")
	call(t, "", nil, append(edge, "--nats-ca", cert+"x")...).refused(t, "--nats-ca", "no such file")
	call(t, "", nil, append(edge, "--redis-cert", key, "--redis-key", key)...).refused(t, "--redis-cert")
}
