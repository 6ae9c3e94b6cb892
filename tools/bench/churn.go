package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Churn is messages to clients of whom a share reconnects all the time, each time to another node.
type Churn struct {
	Pairs int
	Size  int           // of a message's data, in bytes
	Rate  float64       // messages per second of all pairs together
	Share float64       // of the recipients that reconnect, from 0 to 1
	Every time.Duration // about how long they stay
	Warm  time.Duration // before anything is measured
	For   time.Duration // the measured part
	Plot  bool          // keep the latencies over the run
}

var _ Work = Churn{}

// Name is churn.
func (Churn) Name() string { return "churn" }

// Validate says what is wrong.
func (c Churn) Validate(env Env) error {
	switch {
	case c.Share <= 0 || c.Share > 1:
		return errors.New("share must be above 0 and at most 1")
	case c.Every <= 0:
		return errors.New("every must be positive")
	case c.Rate <= 0:
		return errors.New("rate must be positive")
	}
	return c.direct().Validate(env)
}

// direct is the same without anybody who reconnects.
func (c Churn) direct() Direct {
	return Direct{Pairs: c.Pairs, Size: c.Size, Rate: c.Rate, Warm: c.Warm, For: c.For, Plot: c.Plot}
}

// Run lets the pairs talk while recipients come and go. They leave as clients should: with a close, and reading what is
// still on its way. What is answered as delivered must then have been shown.
func (c Churn) Run(ctx context.Context, env Env) (*Result, error) {
	d := c.direct()
	logins, err := d.logins(env)
	if err != nil {
		return nil, err
	}
	conns, err := connectAll(ctx, env.Driver, logins, env.progress)
	if err != nil {
		return nil, err
	}
	t := &churnRun{talk: d.talk(conns, logins), env: env, every: c.Every, logins: logins[c.Pairs:]}
	churners := max(1, int(c.Share*float64(c.Pairs)))
	drive, cancel := context.WithCancel(ctx)
	defer cancel()
	readers := func() {
		for i, s := range t.senders {
			t.reader(s.conn, s.name, s)
			if r := t.recipients[i]; i >= churners {
				t.reader(r.conn, r.name, r)
			} else {
				t.readers.Go(func() { t.wander(drive, i) })
			}
		}
	}
	charged, err := t.drive(ctx, env, c.Name(), readers, t.send, t.settled)
	if err != nil {
		return nil, err
	}
	r := t.result(charged)
	r.Figures["reconnects_per_s"] = float64(t.moves.Load()) / (c.Warm + c.For).Seconds()
	if n := t.stuck.Load(); n > 0 {
		r.broke("%d connections were not ended by their node within %v of the client's good-bye", n, byeTime)
	}
	return r, nil
}

// byeTime is how long a node has to end a connection whose client has said good-bye.
const byeTime = 5 * time.Second

// churnRun is one run.
type churnRun struct {
	*talk
	env    Env
	every  time.Duration
	logins []Login      // of the recipients
	moves  atomic.Int64 // reconnects
	stuck  atomic.Int64 // connections that a node did not end
}

// wander is a recipient that reconnects, again and again, until the measured part is over.
func (t *churnRun) wander(ctx context.Context, i int) {
	r, l := t.recipients[i], t.logins[i]
	for node := i; ; node++ {
		leaving, err := t.stay(r)
		if !leaving {
			select {
			case <-t.over:
			default:
				t.fail(ended(r.name, err))
			}
			return
		}
		l.URL = t.env.URLs[node%len(t.env.URLs)]
		c, err := connect(ctx, t.env.Driver, l)
		if err != nil {
			t.fail(err)
			return
		}
		t.moves.Add(1)
		r.conn = c
		t.replace(len(t.senders)+i, c)
	}
}

// stay reads until the connection ends, and says good-bye after a while. It reports whether it was that which ended it.
func (t *churnRun) stay(r *recipient) (leaving bool, err error) {
	var left atomic.Bool
	c := r.conn
	cut := time.AfterFunc(time.Hour, func() {
		t.stuck.Add(1)
		_ = c.Cut()
	})
	defer cut.Stop()
	bye := time.AfterFunc(t.every/2+rand.N(t.every), func() {
		if t.meter.now() < t.meter.measured.to {
			left.Store(true)
			cut.Reset(byeTime)
			_ = c.Bye()
		}
	})
	defer bye.Stop()
	for err == nil {
		err = c.Read(r)
	}
	return left.Load(), err
}
