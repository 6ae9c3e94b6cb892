package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// relay passes bytes between a client and its instance, both ways, untouched, until both have ended or one breaks. While
// nothing is said it holds no buffers: one is taken when there is something to read. What one side does not take within
// StallTime ends both.
type relay struct {
	g                *Gateway
	client, instance net.Conn
}

// relayBuffer is how much is read at a time.
const relayBuffer = 16 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, relayBuffer); return &b }}

// start begins to relay. head is what the instance has said already, early what the client has.
func (g *Gateway) start(client net.Conn, up *upstream, early []byte) {
	r := &relay{g: g, client: client, instance: up.conn}
	g.mu.Lock()
	g.relays[r] = struct{}{}
	g.mu.Unlock()
	g.metrics.connections.Inc()
	if g.draining.Load() { // it began since the client was let in
		r.cut()
	}
	g.work.Go(func() {
		var both sync.WaitGroup
		both.Go(func() { r.pass(client, up.conn, up.head) })
		r.pass(up.conn, client, early)
		both.Wait()
		r.cut()
		g.mu.Lock()
		delete(g.relays, r)
		g.mu.Unlock()
	})
}

// cut ends both connections.
func (r *relay) cut() {
	_ = r.client.Close()
	_ = r.instance.Close()
}

// pass writes what is said already, and then what src says, to dst. An orderly end is passed on; anything else ends both.
func (r *relay) pass(dst, src net.Conn, said []byte) {
	err := r.write(dst, said)
	if err == nil {
		err = r.copy(dst, src)
	}
	half, ok := dst.(interface{ CloseWrite() error })
	if !errors.Is(err, io.EOF) || !ok || half.CloseWrite() != nil {
		r.cut()
	}
}

func (r *relay) write(dst net.Conn, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_ = dst.SetWriteDeadline(time.Now().Add(r.g.cfg.StallTime))
	n, err := dst.Write(b)
	r.g.metrics.bytes.Add(float64(n))
	return err
}

// copy copies until an error; io.EOF is an orderly end.
func (r *relay) copy(dst, src net.Conn) error {
	sc, ok := src.(syscall.Conn)
	if !ok || !canReadNow {
		return r.copyPlain(dst, src)
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
			err = r.write(dst, (*buf)[:n])
		}
		buffers.Put(buf)
		if err != nil {
			return err
		}
	}
}

// copyPlain is copy for what is no socket.
func (r *relay) copyPlain(dst, src net.Conn) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			if werr := r.write(dst, (*buf)[:n]); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}
