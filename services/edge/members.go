package edge

import (
	"context"
	"slices"
	"sync"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// members works off a members request: a page of who is in a group, over all nodes. It is a rare request, and one that may
// be large, so it has a goroutine of its own.
func (s *Session) members(req *contracts.Request) {
	if !s.uses(req.Members.Group) {
		s.refuse(req, errGroup)
		return
	}
	q, id := req.Members, req.ID
	s.edge.work.Go(func() {
		page, more, err := s.edge.membersEverywhere(q)
		if err != nil {
			s.push(contracts.AppendError(nil, contracts.Request{ID: id, HasID: true}, err), receipt{})
			return
		}
		s.push(contracts.AppendPage(nil, id, page, more), receipt{})
	})
}

var errMembers = &contracts.Error{Code: contracts.CodeUnavailable, Message: "the members are not known at the moment, try again"}

// membersEverywhere asks all nodes that have members, each for a whole page, since all may be on one.
func (e *Edge) membersEverywhere(q contracts.MembersQuery) (page []contracts.ClientID, more bool, problem *contracts.Error) {
	ctx, cancel := context.WithTimeout(e.ctx, connectTime)
	defer cancel()
	entries, err := e.dir.Lookup(ctx, []contracts.Address{q.Group.Address()})
	if err != nil {
		return nil, false, errMembers
	}
	p := &pages{all: e.groups.members(q)}
	for _, n := range e.routes.others(entries[0]) {
		p.waiting.Add(1)
		e.courier.Members(n, q, p, 0)
	}
	p.waiting.Wait()
	if p.failed {
		return nil, false, errMembers
	}
	slices.Sort(p.all)
	p.all = slices.Compact(p.all) // a client may have sessions on several nodes
	if len(p.all) > q.Limit {
		return p.all[:q.Limit], true, nil
	}
	// A node that had a whole page may have more.
	return p.all, len(p.all) == q.Limit, nil
}

// pages gathers the answers of nodes. It is a broker.DataWaiter.
type pages struct {
	waiting sync.WaitGroup

	mu     sync.Mutex
	all    []contracts.ClientID // guarded by mu until waiting is over
	failed bool                 // likewise
}

var _ broker.DataWaiter = (*pages)(nil)

// Data takes the members of one node.
func (p *pages) Data(_ uint64, data []byte) {
	names, ok := contracts.ReadNames(data)
	p.mu.Lock()
	p.all = append(p.all, names...)
	p.failed = p.failed || !ok
	p.mu.Unlock()
	p.waiting.Done()
}

// Answered takes a node's refusal. One that is gone, or has no members any more, is no failure.
func (p *pages) Answered(_ uint64, s contracts.Status) {
	p.mu.Lock()
	p.failed = p.failed || s != contracts.StatusNotHere && s != contracts.StatusNobody
	p.mu.Unlock()
	p.waiting.Done()
}

// memberPolls is how many questions of other nodes are worked off at a time: each sorts a group's members.
const memberPolls = 4

// Members answers another node's question. It is part of broker.Handler, and leaves the work to a goroutine.
func (e *Edge) Members(q contracts.MembersQuery, w broker.DataWaiter, id uint64) {
	select {
	case e.polls <- struct{}{}:
	default:
		w.Answered(id, contracts.StatusOverload)
		return
	}
	asked := e.spawn(func() {
		defer func() { <-e.polls }()
		w.Data(id, contracts.AppendNames(nil, e.groups.members(q)))
	})
	if !asked {
		<-e.polls
		w.Answered(id, contracts.StatusNotHere)
	}
}

// members returns the first clients after the query's, in order, that are in the group on this node.
func (g *groups) members(q contracts.MembersQuery) []contracts.ClientID {
	x := g.get(q.Group)
	if x == nil {
		return nil
	}
	x.mu.RLock()
	var all []contracts.ClientID
	for s := range x.members {
		if c := s.identity.Client; c > q.After {
			all = append(all, c)
		}
	}
	x.mu.RUnlock()
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), q.Limit)]
}
