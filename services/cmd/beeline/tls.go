package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// tlsFlags say how a connection to another server is secured.
type tlsFlags struct {
	CA   string `name:"ca" placeholder:"FILE" help:"PEM file with the authorities that its certificate may be from. Not given: those of this system."`
	Cert string `name:"cert" placeholder:"FILE" help:"PEM file with a certificate to show, if the server asks for one."`
	Key  string `name:"key" placeholder:"FILE" help:"PEM file with its key."`
}

// config returns what the flags say, or nil when none is given and TLS is not asked for otherwise. prefix is that of
// their names.
func (f tlsFlags) config(prefix string, asked bool) (*tls.Config, error) {
	if f == (tlsFlags{}) && !asked {
		return nil, nil
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, usagef("--%scert and --%skey go together", prefix, prefix)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pool, err := readPool(f.CA)
		if err != nil {
			return nil, usagef("--%sca: %w", prefix, err)
		}
		c.RootCAs = pool
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, usagef("--%scert and --%skey: %w", prefix, prefix, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

var errNoCertificate = errors.New("there is no certificate in it")

// readPool reads certificates from a PEM file.
func readPool(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: %w", path, errNoCertificate)
	}
	return pool, nil
}
