// Package ws is the client's half of WebSocket (RFC 6455) as a load generator needs it: one buffer and one goroutine per
// connection, no allocation per frame, pings answered by whoever reads. It shares the machine with the servers that are
// measured, so what it costs is what they lack. It does not compress, and it is no library for applications: tools/client is.
package ws

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the handshake of RFC 6455 asks for it; it protects nothing
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Options say how to connect.
type Options struct {
	URL         string
	Subprotocol string      // offered, and asked for: a server that does not take it is an error. Empty: none
	Header      http.Header // sent with the request
	Source      netip.Addr  // address to connect from; the zero value leaves it to the system
	Buffer      int         // what one read takes, in bytes; it grows for a larger frame. Default 4096
}

// RefusedError is the answer of a server that does not take the connection.
type RefusedError struct {
	Status int
	Text   string // the beginning of what it said
}

// Error returns the status and what the server said.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused with status %d: %s", e.Status, e.Text)
}

// Dial connects. ctx bounds that and nothing else.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("parse the address: %w", err)
	}
	raw, err := open(ctx, u, o.Source)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, err := handshake(raw, u, o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// open makes the connection underneath.
func open(ctx context.Context, u *url.URL, source netip.Addr) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"wss": "443"}[u.Scheme]
	}
	if port == "" {
		port = "80"
	}
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	raw, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme != "wss" {
		return raw, err
	}
	secure := tls.Client(raw, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return secure, nil
}

// handshake turns the connection into a WebSocket.
func handshake(raw net.Conn, u *url.URL, o Options) (*Conn, error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	request := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: o.Header.Clone(), ProtoMajor: 1, ProtoMinor: 1}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": o.Subprotocol,
	} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if err := request.Write(raw); err != nil {
		return nil, fmt.Errorf("ask for a WebSocket: %w", err)
	}
	from := bufio.NewReaderSize(raw, 1024)
	response, err := http.ReadResponse(from, request)
	if err != nil {
		return nil, fmt.Errorf("read the answer to the request for a WebSocket: %w", err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode != http.StatusSwitchingProtocols:
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return nil, &RefusedError{Status: response.StatusCode, Text: strings.TrimSpace(string(text))}
	case response.Header.Get("Sec-WebSocket-Accept") != accept(key):
		return nil, errors.New("the server does not speak WebSocket")
	case response.Header.Get("Sec-WebSocket-Protocol") != o.Subprotocol:
		return nil, fmt.Errorf("the server does not speak %s", o.Subprotocol)
	}
	early, _ := from.Peek(from.Buffered()) // what the server sent at once
	return newConn(raw, max(o.Buffer, 0), early), nil
}

// accept is what a server makes of the key, to show that it knows the protocol.
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}
