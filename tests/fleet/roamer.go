package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/beeline-rt/beeline/contracts"
)

// Roamers are clients that ask registries where to connect, and come back when they lose their connection, as the protocol
// has it: after a wait drawn from zero to the bounds that they were told, they ask again, and try the addresses in their order.
type Roamers struct {
	Registries []string // of all clusters; each question goes to one that chance picks, and then to the others
	Shuffle    bool     // the addresses are tried in any order, so that all gateways are used
	// Hear is called from the roamer's own goroutine for each object that it is told, but for ready. nil: nobody listens.
	Hear func(r *Roamer, e contracts.Event)

	// owned by the test's goroutine
	all  []*Roamer
	stop []context.CancelFunc
	work sync.WaitGroup
}

// Roamer is one of them. Its methods are safe for concurrent use.
type Roamer struct {
	Name contracts.ClientID

	crowd *Roamers
	key   contracts.PlacementKey

	mu     sync.Mutex // guards the following
	member *Member    // nil: not connected
	since  time.Time  // when it was last ready, or lost its connection
	lost   error      // why it did
}

// Add starts a client; with a key, it goes where that belongs. Close ends it.
func (c *Roamers) Add(ctx context.Context, name contracts.ClientID, key contracts.PlacementKey) *Roamer {
	r := &Roamer{Name: name, key: key, crowd: c}
	c.all = append(c.all, r)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = append(c.stop, cancel)
	c.work.Go(func() { r.roam(ctx) })
	return r
}

// All are those that were added.
func (c *Roamers) All() []*Roamer { return c.all }

// Close cuts all connections and waits until nothing runs any more.
func (c *Roamers) Close() {
	for _, stop := range c.stop {
		stop()
	}
	c.work.Wait()
}

// Member is the roamer's connection, or nil while it has none.
func (r *Roamer) Member() *Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.member
}

// State is where the roamer is, or "" while it has no connection, and since when.
func (r *Roamer) State() (n contracts.NodeID, c contracts.ClusterName, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.member == nil {
		return "", "", r.since
	}
	return r.member.Ready.Node, r.member.Ready.Cluster, r.since
}

// Lost says how it lost its last connection; nil while it has one.
func (r *Roamer) Lost() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

const (
	askTime  = 2 * time.Second // for a registry to answer
	dialTime = 5 * time.Second // for an address to make a client ready
)

// roam connects, reads until the connection ends, waits, and connects again.
func (r *Roamer) roam(ctx context.Context) {
	backoff := contracts.Backoff{FirstMS: 1000, BaseMS: 250, CapMS: 30_000} // until a registry says
	for failures := 0; ctx.Err() == nil; {
		m, answer, err := r.enter(ctx)
		if answer != nil {
			backoff = answer.Backoff
		}
		if err == nil {
			failures = 0
			r.became(m, nil)
			err = r.read(ctx, m)
			r.became(nil, err)
		}
		bound := backoff.FirstMS
		if failures > 0 {
			bound = min(backoff.CapMS, backoff.BaseMS<<min(failures+1, 20))
		}
		failures++
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(time.Duration(bound) * time.Millisecond)):
		}
	}
}

func (r *Roamer) became(m *Member, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.member, r.since, r.lost = m, time.Now(), err
}

// enter asks, and tries the addresses. The answer is what a registry said, if one did.
func (r *Roamer) enter(ctx context.Context) (*Member, *contracts.Connection, error) {
	var errs []error
	for _, i := range rand.Perm(len(r.crowd.Registries)) {
		limited, cancel := context.WithTimeout(ctx, askTime)
		answer, err := Ask(limited, r.crowd.Registries[i], r.Name, r.key)
		cancel()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		addresses := append([]contracts.Endpoint{answer.Primary}, answer.Alternates...)
		if r.crowd.Shuffle {
			rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
		}
		for _, e := range addresses {
			limited, cancel := context.WithTimeout(ctx, dialTime)
			m, err := join(limited, r.Name, e.URL)
			cancel()
			if err == nil {
				return m, &answer, nil
			}
			errs = append(errs, err)
		}
		return nil, &answer, errors.Join(errs...)
	}
	return nil, nil, errors.Join(errs...)
}

// read reads until the connection ends, or nothing was heard for two heartbeats.
func (r *Roamer) read(ctx context.Context, m *Member) error {
	stop := context.AfterFunc(ctx, func() { _ = m.ws.Close() })
	defer stop()
	defer func() { _ = m.ws.Close() }()
	extend := func() {
		_ = m.ws.SetReadDeadline(time.Now().Add(2 * time.Duration(m.Ready.HeartbeatS) * time.Second))
	}
	m.ws.SetPingHandler(func(data string) error {
		extend()
		_ = m.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		return nil
	})
	for {
		extend()
		_, frame, err := m.ws.ReadMessage()
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			if e, err := contracts.DecodeEvent(line); err == nil && r.crowd.Hear != nil {
				r.crowd.Hear(r, e)
			}
		}
	}
}

// asking keeps no connections: a test must leave none, and many clients do not share them.
var asking = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Ask asks a registry that knows no tokens where a client is to connect; key may be empty.
func Ask(ctx context.Context, registry string, name contracts.ClientID, key contracts.PlacementKey) (c contracts.Connection, err error) {
	question := map[string]string{"client": string(name)}
	if key != "" {
		question["key"] = string(key)
	}
	body, err := json.Marshal(question)
	if err != nil {
		return c, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, registry+"/v1/connections", bytes.NewReader(body))
	if err != nil {
		return c, err
	}
	resp, err := asking.Do(req)
	if err != nil {
		return c, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the registry answers %d: %s", resp.StatusCode, text)
	}
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(text, &c)
}
