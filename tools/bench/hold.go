package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/beeline-rt/beeline/tools/bench/floor"
	"github.com/beeline-rt/beeline/tools/bench/proc"
)

// HoldPart is the name of the part that holds connections.
const HoldPart = "hold"

// ServePart is the part with a name, spoken to over in and out. A program that measures with a driver of its own calls it
// when it is started by the command of its [Env].
func ServePart(ctx context.Context, name string, d Driver, in io.Reader, out io.Writer) error {
	if served, err := floor.Serve(ctx, name, in, out); served {
		return err
	}
	if name == HTTPPart {
		return serveHTTP(ctx, in, out)
	}
	if name != HoldPart {
		return fmt.Errorf("there is no part %q", name)
	}
	h := &holder{driver: d}
	defer h.readers.Wait()
	defer h.cut()
	return proc.Serve(ctx, in, out, h.handle)
}

// holdRequest asks for more connections, or just for what there is.
type holdRequest struct {
	Connect []Login `json:"connect,omitempty"`
	AtOnce  int     `json:"at_once,omitempty"`
}

// holdAnswer says what there is.
type holdAnswer struct {
	Held  int    `json:"held"`
	Ended int    `json:"ended"`
	Why   string `json:"why"` // one of them did
}

// holder holds connections, and reads from them, so that pings are answered.
type holder struct {
	driver  Driver
	readers sync.WaitGroup

	mu    sync.Mutex // guards the following
	conns []Conn
	over  bool
	ended int
	why   error
}

func (h *holder) handle(ctx context.Context, request json.RawMessage) (any, error) {
	var r holdRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, err
	}
	if len(r.Connect) > 0 {
		conns, err := connectSome(ctx, h.driver, r.Connect, r.AtOnce, func(int) {})
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		h.conns = append(h.conns, conns...)
		h.mu.Unlock()
		for i, c := range conns {
			h.readers.Go(func() { h.read(c, r.Connect[i].Client) })
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	a := holdAnswer{Held: len(h.conns) - h.ended, Ended: h.ended}
	if h.why != nil {
		a.Why = h.why.Error()
	}
	return a, nil
}

func (h *holder) read(c Conn, name string) {
	for {
		if err := c.Read(nothing{}); err != nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.over {
				h.ended++
				h.why = ended(name, err)
			}
			return
		}
	}
}

func (h *holder) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	cutAll(h.conns)
}

// nothing takes what arrives where nobody waits for anything.
type nothing struct{}

// Message passes it over.
func (nothing) Message([]byte) {}

// Answer passes it over.
func (nothing) Answer(uint64, string) {}
