package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// relay passes bytes between a client and its instance, both ways, untouched, until both have ended or one breaks. While
// nothing is said it holds no buffers, but one for each side with TLS: one is taken when there is something to read. What one side does not take within
// StallTime ends both; and so it does when one side has ended, and the other says nothing for that long: an instance that
// has done with a client does not leave the gateway with it.
type relay struct {
	g                *Gateway
	client, instance net.Conn
	from             *pulse      // of the instance; nil: it is not asked
	half             atomic.Bool // one side has ended
	ending           bool        // guarded by g.mu: its instance hangs
}

// relayBuffer is how much is read at a time.
const relayBuffer = 16 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, relayBuffer); return &b }}

// start begins to relay. early is what the client has said already. It is called by a request, for which Drain waits.
func (g *Gateway) start(client net.Conn, up *upstream, early []byte) {
	r := &relay{g: g, client: client, instance: up.conn, from: up.from}
	r.from.join()
	g.mu.Lock()
	g.relays[r] = struct{}{}
	draining := g.draining // since the client was let in
	g.mu.Unlock()
	g.metrics.connections.Inc()
	if draining {
		r.cut()
	}
	g.work.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { r.pass(client, up.conn, up.head, r.from) })
		r.pass(up.conn, client, early, nil)
		both.Wait()
		r.cut()
		r.from.leave()
		g.mu.Lock()
		delete(g.relays, r)
		g.mu.Unlock()
	})
}

// cut ends both connections.
func (r *relay) cut() {
	hangUp(r.client)
	hangUp(r.instance)
}

// pass writes what is said already, and then what src says, to dst, and tells the pulse of src, if it has one. An orderly end is
// passed on; anything else ends both.
func (r *relay) pass(dst, src net.Conn, said []byte, from *pulse) {
	out := &outlet{relay: r, dst: dst, from: from}
	err := out.write(said)
	if err == nil {
		err = out.copy(src)
	}
	half, ok := dst.(interface{ CloseWrite() error })
	if !errors.Is(err, io.EOF) || !ok || half.CloseWrite() != nil {
		r.cut()
		return
	}
	r.half.Store(true)
	r.lastWords(dst)
}

// lastWords gives the side that has not ended some more time to say something.
func (r *relay) lastWords(src net.Conn) { _ = src.SetReadDeadline(time.Now().Add(r.g.cfg.StallTime)) }

// outlet writes to one side. One goroutine uses it.
type outlet struct {
	*relay
	dst      net.Conn
	from     *pulse    // of the other side; nil: it has none
	deadline time.Time // of writes
}

// write gives the side StallTime to take it, and up to half of that more: to move the deadline at each write took 3 % of a busy
// gateway's CPU.
func (o *outlet) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	stall := o.g.cfg.StallTime
	if now := time.Now(); o.deadline.Sub(now) < stall {
		o.deadline = now.Add(stall + stall/2)
		_ = o.dst.SetWriteDeadline(o.deadline)
	}
	n, err := o.dst.Write(b)
	o.g.metrics.bytes.Add(float64(n))
	return err
}

// copy copies until an error; io.EOF is an orderly end.
func (o *outlet) copy(src net.Conn) error {
	sc, ok := src.(syscall.Conn)
	if !ok || !canReadNow {
		return o.copyPlain(src)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var (
		buf     *[]byte
		n       int
		readErr error
	)
	read := func(fd uintptr) bool {
		buf = buffers.Get().(*[]byte)
		n, readErr = readNow(fd, *buf)
		// This is also how each wait begins: an end that came with the last bytes is told once, and would be waited for in vain.
		if errors.Is(readErr, syscall.EAGAIN) {
			buffers.Put(buf) // none is held while there is nothing to read
			return false
		}
		return true
	}
	for {
		if err := raw.Read(read); err != nil {
			return err
		}
		err := readErr
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err == nil {
			o.from.say()
			err = o.write((*buf)[:n])
		}
		buffers.Put(buf)
		if err != nil {
			return err
		}
		if o.half.Load() {
			o.lastWords(src)
		}
	}
}

// copyPlain is copy for what is no socket that can be read itself, such as TLS. It holds a buffer all the time.
func (o *outlet) copyPlain(src net.Conn) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			o.from.say()
			if werr := o.write((*buf)[:n]); werr != nil {
				return werr
			}
			if o.half.Load() {
				o.lastWords(src)
			}
		}
		if err != nil {
			return err
		}
	}
}
