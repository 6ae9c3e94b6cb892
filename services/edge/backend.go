package edge

import (
	"context"
	"sync"

	"github.com/beeline-rt/beeline/contracts"
)

// This file is what programs may ask of an edge that are no clients and have no session.

// Post sends data, which is [contracts.ValidData], from a name to clients or groups, all together. It does not wait: done is
// called once for each of them, by its index, with what became of the message and to how many nodes one to a group went. It
// is called on any goroutine, also before Post returns, and must not wait.
func (e *Edge) Post(from contracts.ClientID, to []contracts.Address, data []byte, done func(i int, o contracts.Outcome, nodes int)) {
	e.metrics.messages.Add(float64(len(to)))
	p := &posting{e, done}
	var frame []byte // the same for all clients
	sent := e.during(func() {
		e.burst(func() {
			for i, a := range to {
				m := &message{s: p, id: uint64(i), to: a}
				switch {
				case a.Kind == contracts.KindGroup:
					m.frame = contracts.EncodeGroupMsg(from, contracts.GroupName(a.ID), data)
				case frame == nil:
					frame = contracts.EncodeMsg(from, data)
					fallthrough
				default:
					m.frame = frame
				}
				e.routes.route(m)
			}
		})
	})
	if sent {
		return
	}
	for i := range to { // the node has stopped
		e.metrics.outcome(contracts.Unavailable)
		done(i, contracts.Unavailable, 0)
	}
}

// posting is the sender of what [Edge.Post] sends.
type posting struct {
	edge *Edge
	done func(i int, o contracts.Outcome, nodes int)
}

func (p *posting) home() *Edge { return p.edge }

func (p *posting) settle(m *message, o contracts.Outcome, _ *contracts.Error) {
	p.done(int(m.id), o, m.nodes)
}

// Where returns the sessions that clients have now, in the order of the clients. The error says that this is not known.
func (e *Edge) Where(ctx context.Context, clients []contracts.ClientID) ([][]contracts.Entry, *contracts.Error) {
	addresses := make([]contracts.Address, len(clients))
	for i, c := range clients {
		addresses[i] = c.Address()
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	entries, err := e.dir.Lookup(ctx, addresses)
	if err != nil || !e.dir.Trusted() { // then some may be missing
		return nil, errNotKnown
	}
	return entries, nil
}

// MembersOf returns a page of who is in a group, over all nodes, in order, and whether there may be more.
func (e *Edge) MembersOf(q contracts.MembersQuery) (page []contracts.ClientID, more bool, problem *contracts.Error) {
	problem = errMembers
	e.during(func() { page, more, problem = e.membersEverywhere(q) })
	return page, more, problem
}

var errUnsure = &contracts.Error{Code: contracts.CodeUnknown, Message: "a server did not answer in time: its sessions may or may not have been ended"}

// Disconnect ends the sessions of a client on all nodes, or only the one that is named, with a close code, and returns how
// many it has ended. An error of code unavailable says that none was.
func (e *Edge) Disconnect(ctx context.Context, client contracts.ClientID, only contracts.SessionID, code contracts.CloseCode) (int, *contracts.Error) {
	where, problem := e.Where(ctx, []contracts.ClientID{client})
	if problem != nil {
		return 0, problem
	}
	var all endings
	there := e.during(func() {
		for _, s := range where[0] {
			switch {
			case only != "" && s.Session != only:
			case s.Node == e.node:
				all.Add(1)
				e.Evict(client, s.Session, code, &all, 0)
			default:
				all.Add(1)
				e.courier.Evict(s.Node, client, s.Session, code, &all, 0)
			}
		}
		all.Wait()
	})
	switch {
	case !there, all.refused > 0 && all.ended+all.unsure == 0:
		return 0, errUnavailable
	case all.unsure+all.refused > 0:
		return 0, errUnsure
	}
	return all.ended, nil
}

// endings gathers what became of sessions that were to be ended. It is a broker.Waiter.
type endings struct {
	sync.WaitGroup

	mu                     sync.Mutex
	ended, unsure, refused int // guarded by mu until nobody is waited for
}

// Answered takes one of the answers.
func (a *endings) Answered(_ uint64, st contracts.Status) {
	a.mu.Lock()
	switch st {
	case contracts.StatusDelivered:
		a.ended++
	case contracts.StatusNotHere, contracts.StatusNobody: // it has ended already
	case contracts.StatusUnavailable, contracts.StatusOverload:
		a.refused++
	default:
		a.unsure++
	}
	a.mu.Unlock()
	a.Done()
}

// evicted says to a client why its session was ended from elsewhere.
func evicted(code contracts.CloseCode) string {
	if code == contracts.CloseReplaced {
		return replaced
	}
	return "ended by the application"
}

// during is spawn that waits for f.
func (e *Edge) during(f func()) bool {
	e.closing.RLock()
	if e.closed {
		e.closing.RUnlock()
		return false
	}
	e.work.Add(1)
	e.closing.RUnlock()
	defer e.work.Done()
	f()
	return true
}
