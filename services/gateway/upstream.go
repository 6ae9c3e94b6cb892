package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/beeline-rt/beeline/contracts"
)

const (
	mostTries = 4 // instances for one client, and peers
	// peerTime is how many AnswerTimes a peer has, which may itself have to try instances in vain: who gave up on it
	// meanwhile would part clients of one key.
	peerTime  = 4
	maxHead   = 8 << 10 // of an answer to an upgrade
	maxAnswer = 4 << 10 // of a refusal's text
)

// defaultPorts are those of addresses that name none.
var defaultPorts = map[string]string{"ws": "80", "wss": "443"}

// upstream is the connection to an instance that has accepted the upgrade.
type upstream struct {
	conn net.Conn
	head []byte // its answer to the client, and what it has said since
	from *pulse // of the instance; nil: it is a peer, or is not asked
}

var (
	errBusy    = errors.New("the instance takes no clients now") // it is there: it is full, or stops
	errAddress = errors.New("it reports an address that no gateway can use")
)

// reach connects to the instance where the ticket belongs; if that is not fit or does not answer in time, to its alternate.
// addressOf says where that is, and empty if it is nowhere; try connects there.
func (g *Gateway) reach(
	ctx context.Context, t contracts.Ticket, addressOf func(contracts.Load) string, try func(address string) (*upstream, *refusal, error),
) (*upstream, *refusal) {
	now := time.Now()
	var fit, spare []contracts.Instance
	for _, i := range g.o.Fleet.Instances() {
		switch {
		case i.Load.State != contracts.NodeReady || addressOf(i.Load) == "" || i.Load.Users >= i.Load.Capacity:
		case g.outliers.passes(i.Peer, now) || g.probes.unfit(i.Peer):
			spare = append(spare, i)
		default:
			fit = append(fit, i)
		}
	}
	// Better one that has failed than none.
	for n, i := range append(g.o.Order(t.Key, fit), g.o.Order(t.Key, spare)...) {
		if n == mostTries {
			break
		}
		up, no, err := try(addressOf(i.Load))
		switch {
		case err == nil:
			g.outliers.served(i.Peer, time.Now())
			if up != nil {
				up.from = g.probes.of(i.Peer)
			}
			return up, no
		case ctx.Err() != nil:
			return nil, &refusal{http.StatusServiceUnavailable, "the client has gone"}
		case !errors.Is(err, errBusy):
			g.metrics.failures.Inc()
			if g.outliers.failed(i.Peer, time.Now()) {
				g.log.Warn("gateway: an instance does not take clients as it should; its alternates do", slog.String("node", string(i.Node)), slog.Any("error", err))
			}
		}
	}
	return nil, &refusal{http.StatusServiceUnavailable, "no instance can take this client now, try again"}
}

// passOn connects to a gateway of the ticket's cluster. It returns neither when that cluster cannot be reached: then this
// one serves the client.
func (g *Gateway) passOn(r *http.Request, t contracts.Ticket) (*upstream, *refusal) {
	if r.Header.Get(hopHeader) != "" {
		return nil, wrongCluster
	}
	r.Header.Set(hopHeader, string(g.cfg.Cluster))
	defer r.Header.Del(hopHeader)
	return g.anyPeer(g.cfg.Peers[t.Cluster], func(peer string) (*upstream, *refusal, error) {
		return g.try(r, "ws://"+peer, r.URL.EscapedPath()+"?"+r.URL.RawQuery, peerTime*g.cfg.AnswerTime)
	})
}

var wrongCluster = &refusal{http.StatusBadGateway, "a gateway has passed this client on to the wrong cluster"}

// anyPeer connects to one of the gateways of a cluster. It returns neither if none of them can be reached.
func (g *Gateway) anyPeer(peers []string, try func(peer string) (*upstream, *refusal, error)) (*upstream, *refusal) {
	peers = slices.Clone(peers)
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for _, p := range peers[:min(len(peers), mostTries)] {
		up, no, err := try(p)
		if err == nil {
			g.metrics.passedOn.Inc()
			return up, no
		}
		g.metrics.failures.Inc()
	}
	return nil, nil
}

// try connects to an address within AnswerTime, and repeats the client's upgrade there, all within a time. It returns the
// connection, or what the other side has to say against the client, or an error that is the other side's own.
func (g *Gateway) try(r *http.Request, address, target string, within time.Duration) (*upstream, *refusal, error) {
	u, err := url.Parse(address)
	if err != nil || defaultPorts[u.Scheme] == "" {
		return nil, nil, errAddress
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), defaultPorts[u.Scheme])
	}
	end := time.Now().Add(within)
	ctx, cancel := context.WithTimeout(r.Context(), g.cfg.AnswerTime)
	defer cancel()
	conn, err := g.connect(ctx, host, u.Scheme == "wss", r.RemoteAddr)
	if err != nil {
		return nil, nil, err
	}
	up, no, err := g.upgrade(conn, r, target, end)
	if up == nil {
		_ = conn.Close()
	}
	return up, no, err
}

func (g *Gateway) upgrade(conn net.Conn, r *http.Request, target string, end time.Time) (*upstream, *refusal, error) {
	_ = conn.SetDeadline(end)
	if _, err := conn.Write(g.request(conn, r, target)); err != nil {
		return nil, nil, fmt.Errorf("write: %w", err)
	}
	from := bufio.NewReaderSize(io.LimitReader(conn, maxHead+maxAnswer), maxHead)
	answer, err := http.ReadResponse(from, r)
	if err != nil {
		return nil, nil, fmt.Errorf("read: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	switch status := answer.StatusCode; {
	case status == http.StatusSwitchingProtocols:
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		return nil, nil, errBusy
	case status < 400 || status > 499: // it says nothing against the client
		return nil, nil, fmt.Errorf("it answers an upgrade with status %d", status)
	default:
		text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
		return nil, &refusal{answer.StatusCode, string(bytes.TrimSpace(text))}, nil
	}
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = answer.Header.Write(&head)
	head.WriteString("\r\n")
	early, _ := from.Peek(from.Buffered())
	head.Write(early)
	_ = conn.SetDeadline(time.Time{})
	return &upstream{conn: conn, head: head.Bytes()}, nil, nil
}

// request is the client's upgrade, for the other side.
func (g *Gateway) request(conn net.Conn, r *http.Request, target string) []byte {
	var b bytes.Buffer
	g.introduce(&b, conn, r.RemoteAddr)
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", target, r.Host)
	_ = r.Header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// introduce writes who the client is, if the other side is to be told and has not been: it was before TLS.
func (g *Gateway) introduce(b *bytes.Buffer, conn net.Conn, address string) {
	if _, secure := conn.(*tls.Conn); secure || !g.cfg.Proxy {
		return
	}
	client, err := net.ResolveTCPAddr("tcp", address) // an address, not a name
	if err == nil {
		_, _ = proxyproto.HeaderProxyFromAddrs(2, client, conn.RemoteAddr()).WriteTo(b)
	}
}
