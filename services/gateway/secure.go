package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// Where an instance says wss:// or tls:// it is spoken to by TLS or not at all. Its certificate must be for the host that it
// says, by an authority that this gateway trusts: what answers there otherwise could be anybody.

// connect opens a connection to host:port. By TLS, it also says who the client is, if the other side is to be told, and shakes
// hands. ctx bounds all of it.
func (g *Gateway) connect(ctx context.Context, address string, secure bool, client string) (net.Conn, error) {
	conn, err := g.o.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if !secure {
		return conn, nil
	}
	var header bytes.Buffer
	g.introduce(&header, conn, client)
	return g.encrypt(ctx, conn, address, header.Bytes())
}

// encrypt writes a PROXY header, which goes before TLS, and shakes hands until ctx ends. It closes conn if that fails.
func (g *Gateway) encrypt(ctx context.Context, conn net.Conn, address string, header []byte) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err == nil && len(header) > 0 {
		_, err = conn.Write(header)
	}
	secure := tls.Client(conn, &tls.Config{RootCAs: g.cfg.EdgeRoots, ServerName: host, MinVersion: tls.VersionTLS12})
	if err == nil {
		err = secure.HandshakeContext(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return secure, nil
}

// hangUp closes a connection at once: the good-bye of TLS could wait for a side that takes nothing.
func hangUp(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}
