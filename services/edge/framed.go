package edge

import "github.com/beeline-rt/beeline/contracts"

// framed is what connections have in common that write their frames to a wire themselves.
type framed struct {
	edge *Edge
	wire *wire
}

func (c *framed) attach(s *Session) { c.wire.session = s }

// Write writes at once what the kernel takes. An error means that the connection has ended: then disconnected follows.
func (c *framed) Write(buf []byte) bool {
	return c.wire.write(buf, c.edge.cfg.WriteTime, c.edge.work.Go, c.written)
}

// written is told how a write ended that had to wait.
func (c *framed) written(err error) {
	if err != nil {
		c.Cut()
		return
	}
	c.wire.session.written()
}

func (c *framed) Ping() { c.wire.ping(c.edge.cfg.WriteTime, c.edge.work.Go) }

func (c *framed) Cut() { c.wire.cut() }

// entry is how things stand when a connection comes.
type entry struct {
	refused string              // why it is not let in; empty: it is
	code    contracts.CloseCode // that means the same
	crowded bool                // nor is it let in if it does not say at once who it is
}

const tooManyStrangers = "too many connections without a log-in"

// enter counts a connection from here on, so that a crowd that comes at once is over the limits too. One that is not let in,
// for what it returns or for another reason, is to be given to turnAway.
func (e *Edge) enter() entry {
	open, strange := e.open.Add(1), e.strange.Add(1)
	in := entry{crowded: strange > int64(e.cfg.MaxAnonymous)}
	switch {
	case e.draining.Load():
		in.refused, in.code = "this node is stopping", contracts.CloseRestart
	case open > int64(e.cfg.MaxSessions):
		in.refused, in.code = "this node is full", contracts.CloseOverload
	}
	return in
}

// turnAway counts a connection that is not let in.
func (e *Edge) turnAway() {
	e.open.Add(-1)
	e.strange.Add(-1)
	e.metrics.refusedConnections.Inc()
}
