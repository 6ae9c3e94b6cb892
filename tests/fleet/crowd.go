package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

// Member is a client that costs little: thousands fit into one test. What it hears goes to its crowd's Hear.
type Member struct {
	Name  contracts.ClientID
	Ready contracts.Ready

	ws *websocket.Conn
	mu sync.Mutex // one writer at a time
}

// Post writes one frame.
func (m *Member) Post(frame []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ws.WriteMessage(websocket.TextMessage, frame)
}

// Crowd is many members.
type Crowd struct {
	// Hear is called from the member's own goroutine for each object that it is told, but for ready; err, once, is how its
	// connection ended.
	Hear func(m *Member, e contracts.Event, err error)

	mu      sync.Mutex
	members []*Member
	readers sync.WaitGroup
}

// crowdDialers is how many connect at a time.
const crowdDialers = 64

// Join connects clients, the i-th to the address that url returns for it, and returns when all are ready.
func (c *Crowd) Join(ctx context.Context, names []contracts.ClientID, url func(i int) string) error {
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range names {
			next <- i
		}
	}()
	var (
		dialers sync.WaitGroup
		mu      sync.Mutex
		failed  []error
	)
	for range min(crowdDialers, len(names)) {
		dialers.Go(func() {
			for i := range next {
				if _, err := c.Add(ctx, names[i], url(i)); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("%s: %w", names[i], err))
					mu.Unlock()
				}
			}
		})
	}
	dialers.Wait()
	return errors.Join(failed...)
}

// Add connects one client, and returns when it is ready.
func (c *Crowd) Add(ctx context.Context, name contracts.ClientID, url string) (*Member, error) {
	m, err := join(ctx, name, url)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.members = append(c.members, m)
	c.mu.Unlock()
	c.readers.Go(func() { c.read(m) })
	return m, nil
}

// join connects and logs in. ctx bounds that and nothing else.
func join(ctx context.Context, name contracts.ClientID, url string) (*Member, error) {
	d := websocket.Dialer{
		Subprotocols: []string{contracts.Subprotocol}, HandshakeTimeout: Patience, ReadBufferSize: 1 << 10, WriteBufferSize: 1 << 10,
		NetDialContext: (&net.Dialer{}).DialContext,
	}
	ws, resp, err := d.DialContext(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
	m := &Member{Name: name, ws: ws}
	err = m.Post(contracts.AppendAuth(nil, contracts.Auth{Client: name}))
	var first contracts.Event
	if err == nil {
		_, frame, rerr := ws.ReadMessage()
		if err = rerr; err == nil {
			first, err = contracts.DecodeEvent(bytes.TrimSuffix(frame, []byte("\n")))
		}
	}
	if err == nil && first.Ready == nil {
		err = fmt.Errorf("got %+v, not ready", first)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = ws.Close()
		return nil, err
	}
	m.Ready = *first.Ready
	return m, nil
}

func (c *Crowd) read(m *Member) {
	defer func() { _ = m.ws.Close() }()
	for {
		_, frame, err := m.ws.ReadMessage()
		if err != nil {
			if c.Hear != nil {
				c.Hear(m, contracts.Event{}, err)
			}
			return
		}
		if c.Hear == nil {
			continue
		}
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			e, err := contracts.DecodeEvent(line)
			c.Hear(m, e, err)
		}
	}
}

// Members are all who were added.
func (c *Crowd) Members() []*Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// Close cuts all connections and waits for their goroutines.
func (c *Crowd) Close() {
	c.mu.Lock()
	for _, m := range c.members {
		_ = m.ws.Close()
	}
	c.mu.Unlock()
	c.readers.Wait()
}

// CrowdVariable is the environment variable that makes a test binary one process of a crowd that is too large for the files
// of one: it says which clients to connect, and where.
const CrowdVariable = "BEELINE_TEST_CROWD"

// RunCrowd connects clients prefix-from to prefix-to, exclusively, from another process, which holds them until the test
// ends. It returns when they are ready.
func RunCrowd(tb testing.TB, urls []string, prefix string, from, to int) {
	tb.Helper()
	p := newProcess(tb, os.Args[0])
	p.Cmd.Env = append(os.Environ(), CrowdVariable+"="+strings.Join(append([]string{prefix, strconv.Itoa(from), strconv.Itoa(to)}, urls...), " "))
	p.start()
	tb.Cleanup(p.Kill)
	select {
	case line, ok := <-p.lines:
		if !ok || line != crowdReady {
			tb.Fatalf("a crowd of %d: %s", to-from, p.Output())
		}
	case <-time.After(10 * time.Minute):
		tb.Fatalf("a crowd of %d is not ready", to-from)
	}
}

const crowdReady = "ready"

// BeCrowd is what TestMain does when it finds [CrowdVariable]: it connects the clients, says so on out, and holds them until
// it is killed. It returns if that fails.
func BeCrowd(ctx context.Context, variable string, out io.Writer) error {
	fields := strings.Fields(variable)
	if len(fields) < 4 {
		return fmt.Errorf("%s is %q: it takes a prefix, two numbers and addresses", CrowdVariable, variable)
	}
	from, err1 := strconv.Atoi(fields[1])
	to, err2 := strconv.Atoi(fields[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	urls := fields[3:]
	var all []contracts.ClientID
	for i := from; i < to; i++ {
		all = append(all, contracts.ClientID(fmt.Sprint(fields[0], i)))
	}
	var c Crowd
	if err := c.Join(ctx, all, func(i int) string { return urls[(from+i)%len(urls)] }); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, crowdReady); err != nil {
		return err
	}
	c.readers.Wait()
	return errors.New("all connections have ended")
}
