package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/contracts"
)

// Over raw TCP, a client's first frame is its ticket, which the gateway keeps for itself; all that follows passes untouched. The
// other side is asked for a sign of life first, by a ping, so that one that is full, stops or hangs is found before the client
// is joined with it, as it is over WebSocket by the answer to the upgrade.

const (
	ticketTime  = 5 * time.Second // for a client to show its ticket
	refusalTime = time.Second     // for a client to read why it is not let in
	mostRefused = 64              // clients at a time that get to read it; more are closed without a word
)

var pingFrame, pong = func() (ping, pong []byte) {
	object := contracts.AppendPing(nil)
	return contracts.AppendFrame(nil, object[:len(object)-1]), bytes.TrimSuffix(contracts.AppendPong(nil, contracts.Request{}), []byte{'\n'})
}()

// TakeTCP takes a client in that came over raw TCP, or tells it why not, and does not wait. ctx is that of the gateway.
func (g *Gateway) TakeTCP(ctx context.Context, client net.Conn) {
	if p, ok := client.(*proxyproto.Conn); ok {
		client = proxied{p}
	}
	if !g.enter(client) {
		_ = client.Close()
		return
	}
	no := g.full(g.open.Add(1))
	if no != nil && !g.mayRefuse() {
		_ = client.Close()
		g.left(client)
		return
	}
	go func() {
		defer g.left(client)
		if no != nil {
			defer g.refusing.Add(-1)
		} else if no = g.takeIn(ctx, client); no == nil {
			return
		}
		g.refuse(client, no)
	}()
}

// proxied is a connection that came with a PROXY header, of which one half can be closed. It is read through what has read
// the header, for that may have read on.
type proxied struct{ *proxyproto.Conn }

// CloseWrite says that no more comes.
func (p proxied) CloseWrite() error {
	tcp, ok := p.TCPConn()
	if !ok {
		return errors.ErrUnsupported
	}
	return tcp.CloseWrite()
}

// mayRefuse takes one of the places for those that get to read why they are not let in.
func (g *Gateway) mayRefuse() bool {
	if g.refusing.Add(1) <= mostRefused {
		return true
	}
	g.refusing.Add(-1)
	return false
}

// left ends what enter began.
func (g *Gateway) left(client net.Conn) {
	g.mu.Lock()
	delete(g.entering, client)
	g.mu.Unlock()
	g.open.Add(-1)
	g.work.Done()
}

// takeIn takes a client in, or returns why not.
func (g *Gateway) takeIn(ctx context.Context, client net.Conn) *refusal {
	up, no := g.admit(ctx, client)
	switch {
	case no != nil:
		return no
	case up == nil:
		_ = client.Close()
	default:
		_ = client.SetDeadline(time.Time{})
		g.start(client, up, nil)
	}
	return nil
}

// admit reads a client's ticket and connects to where that belongs. It returns neither when the client has gone.
func (g *Gateway) admit(ctx context.Context, client net.Conn) (*upstream, *refusal) {
	_ = client.SetDeadline(time.Now().Add(ticketTime))
	frame, err := readFrame(client, contracts.MaxTicketFrame)
	switch {
	case errors.Is(err, errLength):
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	case err != nil:
		return nil, nil
	}
	shown, bad := contracts.DecodeTicketFrame(frame)
	if bad != nil {
		return nil, &refusal{http.StatusBadRequest, bad.Message}
	}
	now := time.Now()
	t, no := g.verify(shown.Ticket, now)
	if no != nil {
		return nil, no
	}
	return g.place(t, now, func() (*upstream, *refusal) {
		if shown.Passed != "" {
			return nil, wrongCluster
		}
		shown.Passed = g.cfg.Cluster
		hello := append(contracts.AppendFrame(nil, contracts.AppendTicketFrame(nil, shown)), pingFrame...)
		return g.anyPeer(g.cfg.TCPPeers[t.Cluster], func(peer string) (*upstream, *refusal, error) {
			return g.tryTCP(ctx, client, peer, hello, peerTime*g.cfg.AnswerTime)
		})
	}, func() (*upstream, *refusal) {
		return g.reach(ctx, t, func(l contracts.Load) string { return l.TCP }, func(address string) (*upstream, *refusal, error) {
			return g.tryTCP(ctx, client, address, pingFrame, g.cfg.AnswerTime)
		})
	})
}

// tryTCP connects to an address, a host and a port with or without tcp:// or tls:// before them, says hello there, which ends with a ping, and waits for the answer. It returns
// what try does, and takes as long.
func (g *Gateway) tryTCP(
	ctx context.Context, client net.Conn, address string, hello []byte, within time.Duration,
) (*upstream, *refusal, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	dialing, connected := context.WithTimeout(ctx, g.cfg.AnswerTime)
	defer connected()
	host, secure := strings.CutPrefix(address, "tls://")
	conn, err := g.connect(dialing, strings.TrimPrefix(host, "tcp://"), secure, client.RemoteAddr().String())
	if err != nil {
		return nil, nil, err
	}
	end, _ := ctx.Deadline()
	_ = conn.SetDeadline(end)
	no, err := g.hail(conn, client.RemoteAddr().String(), hello)
	if no != nil || err != nil {
		_ = conn.Close()
		return nil, no, err
	}
	_ = conn.SetDeadline(time.Time{})
	return &upstream{conn: conn}, nil, nil
}

// hail says hello and reads the answer.
func (g *Gateway) hail(conn net.Conn, client string, hello []byte) (*refusal, error) {
	var b bytes.Buffer
	g.introduce(&b, conn, client)
	b.Write(hello)
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	answer, err := readFrame(conn, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if bytes.Equal(answer, pong) {
		return nil, nil
	}
	return refusalOf(answer)
}

// refusalOf reads why the other side does not take a client.
func refusalOf(answer []byte) (*refusal, error) {
	reason := "refused"
	for line := range bytes.SplitSeq(answer, []byte{'\n'}) {
		e, err := contracts.DecodeEvent(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read: %w", err)
		case e.Error != nil:
			reason = e.Error.Message
		case e.Close != nil && e.Close.Code == contracts.CloseUnauthorized:
			return &refusal{http.StatusUnauthorized, reason}, nil
		case e.Close != nil && e.Close.Code == contracts.ClosePolicy:
			return &refusal{http.StatusBadRequest, reason}, nil
		case e.Close != nil && e.Close.Code == contracts.CloseInternal:
			return &refusal{http.StatusBadGateway, reason}, nil
		}
	}
	return nil, errBusy
}

// refuse says why a client is not let in, and gives it time to read that.
func (g *Gateway) refuse(client net.Conn, no *refusal) {
	defer func() { _ = client.Close() }()
	g.metrics.refused.WithLabelValues(http.StatusText(no.status)).Inc()
	code, closes := contracts.CodeInternal, contracts.CloseInternal
	switch no.status {
	case http.StatusBadRequest:
		code, closes = contracts.CodeBadRequest, contracts.ClosePolicy
	case http.StatusUnauthorized:
		code, closes = contracts.CodeUnauthorized, contracts.CloseUnauthorized
	case http.StatusServiceUnavailable:
		code, closes = contracts.CodeUnavailable, contracts.CloseOverload
	}
	_ = client.SetDeadline(time.Now().Add(refusalTime))
	_, err := client.Write(contracts.AppendRefusal(nil, &contracts.Error{Code: code, Message: no.reason}, closes))
	half, ok := client.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, client) // what is unread would reset the connection
	}
}

var errLength = errors.New("a frame's length, 4 bytes, big-endian, stands before it")

// readFrame reads one frame, and not a byte more.
func readFrame(from io.Reader, most int) ([]byte, error) {
	var head [contracts.FrameHeader]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if uint64(size) > uint64(most) {
		return nil, fmt.Errorf("the first frame has %d bytes, at most %d are allowed; %w", size, most, errLength)
	}
	frame := make([]byte, size)
	_, err := io.ReadFull(from, frame)
	return frame, err
}
