// Package backend makes a Go program an instance of a Beeline service: clients call the service over their connection to an edge,
// the edge chooses an instance, and the instance's answer goes back to the client. See contracts/README.md for what goes over NATS,
// and for how to do it in another language.
package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// Call is one call of a client. All but Data is what the edge knows of the client, which cannot choose it.
type Call struct {
	Client  contracts.ClientID
	Session contracts.SessionID // the connection that it came by
	ID      uint64              // with Session it names the call, also when one that is idempotent comes a second time
	Key     contracts.CallKey   // may be empty
	Data    json.RawMessage     // one JSON value, as the client wrote it
}

// Handler carries out a call, and returns the answer: one JSON value of at most [MaxAnswer] bytes. An error that wraps a [contracts.Error] is what
// the client is told; of any other it is told only that the service failed. ctx ends when nobody waits for the answer any more, and when the
// instance is closed. Handlers run at the same time, up to Options.Capacity.
type Handler func(ctx context.Context, c Call) (json.RawMessage, error)

// Options say who an instance is. Service, Handler and one of NATS and Conn are needed.
type Options struct {
	Cluster contracts.ClusterName // default: a
	Service contracts.ServiceName
	// Instance is its id, its own within the service. Default: one that chance chooses.
	Instance contracts.InstanceID
	// Epoch tells this start of the instance from those before it under the same id, must be higher than theirs, and is at most
	// contracts.MaxRequestID. Of two processes under one id the one with the higher gets the calls: so one that hangs can be replaced. Default: the
	// time, in microseconds.
	Epoch   contracts.Epoch
	Handler Handler

	NATS broker.Config // where NATS is
	Conn *broker.Conn  // in place of NATS: a connection that is the caller's, and stays open

	Capacity int // calls that are worked on at a time. Default 64
	Waiting  int // calls that may wait for that; one more is turned away, and the edge tries another instance. Default Capacity
	Weight   int // its share, next to that of other instances, 1 to contracts.MaxWeight. Default 1

	// Life is how long the edges take it for alive after its last report, of which three come in that time. Default
	// contracts.DefaultReportLife.
	Life   time.Duration
	Logger *slog.Logger // nil: nothing is logged
}

// MaxAnswer bounds an answer, in bytes. An edge may take less.
const MaxAnswer = contracts.MaxMaxFrame

// Instance is one running instance. It is safe for concurrent use.
type Instance struct {
	// set once
	opts   Options
	conn   *broker.Conn
	reg    *broker.Instance
	queue  chan job
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	inFlight atomic.Int64 // calls that wait, or are worked on
	latency  atomic.Int64 // of late, in nanoseconds
	draining atomic.Bool
	ended    atomic.Bool
	last     atomic.Int64 // when a call last came, in nanoseconds

	closing sync.Once
	err     error // of closing
}

type job struct {
	task   contracts.Task
	until  time.Time
	answer func([]byte) error
}

// Register starts an instance, and returns when it can be called. Whoever has an Instance closes it.
func Register(ctx context.Context, o Options) (*Instance, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	i := &Instance{opts: o, conn: o.Conn, queue: make(chan job, o.Capacity+o.Waiting)}
	if i.conn == nil {
		if i.conn, err = broker.Connect(ctx, o.NATS); err != nil {
			return nil, fmt.Errorf("backend: %w", err)
		}
	}
	i.ctx, i.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range o.Capacity {
		i.work.Go(i.loop)
	}
	if i.reg, err = broker.Serve(ctx, i.conn, o.Cluster, i.report, i.take); err != nil {
		i.release(ctx)
		return nil, fmt.Errorf("backend: %w", err)
	}
	return i, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Cluster == "" {
		o.Cluster = "a"
	}
	if o.Instance == "" {
		o.Instance = contracts.InstanceID("i" + strconv.FormatUint(rand.Uint64(), 36))
	}
	if o.Epoch == 0 {
		o.Epoch = contracts.Epoch(time.Now().UnixMicro())
	}
	if o.Capacity == 0 {
		o.Capacity = 64
	}
	if o.Waiting == 0 {
		o.Waiting = o.Capacity
	}
	if o.Weight == 0 {
		o.Weight = 1
	}
	if o.Life == 0 {
		o.Life = contracts.DefaultReportLife
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	_, err1 := contracts.ParseClusterName(o.Cluster)
	_, err2 := contracts.ParseServiceName(o.Service)
	_, err3 := contracts.ParseInstanceID(o.Instance)
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		return o, fmt.Errorf("cluster, service or instance: %w", errors.Join(err1, err2, err3))
	case o.Handler == nil:
		return o, errors.New("a handler is needed")
	case o.Conn == nil && len(o.NATS.URLs) == 0:
		return o, errors.New("the address of NATS is needed")
	case o.Epoch > contracts.MaxRequestID:
		return o, errors.New("the epoch must be at most 2^53-1")
	case o.Capacity < 1 || o.Capacity > contracts.MaxCapacity || o.Waiting < 0 || o.Waiting > contracts.MaxCapacity || o.Weight < 1 || o.Weight > contracts.MaxWeight:
		return o, errors.New("capacity, waiting or weight is out of bounds")
	case o.Life < contracts.MinReportLife || o.Life > contracts.MaxReportLife:
		return o, fmt.Errorf("life must be from %v to %v", contracts.MinReportLife, contracts.MaxReportLife)
	}
	return o, nil
}

// ID is the instance's id.
func (i *Instance) ID() contracts.InstanceID { return i.opts.Instance }

// InFlight is how many calls it has, those that wait too.
func (i *Instance) InFlight() int { return int(i.inFlight.Load()) }

func (i *Instance) report() contracts.Report {
	return contracts.Report{
		Service: i.opts.Service, Instance: i.opts.Instance, Epoch: i.opts.Epoch, InFlight: i.InFlight(), Capacity: i.opts.Capacity,
		Waiting: i.opts.Waiting, Weight: i.opts.Weight, Latency: time.Duration(i.latency.Load()), Life: i.opts.Life,
		Draining: i.draining.Load(), Ended: i.ended.Load(),
	}
}

var (
	answerBusy  = contracts.AppendAnswer(nil, contracts.Answer{Refused: contracts.RefusedBusy})
	answerLate  = contracts.AppendAnswer(nil, contracts.Answer{Refused: contracts.RefusedLate})
	errInternal = &contracts.Error{Code: contracts.CodeInternal, Message: "the service failed"}
)

// take takes one call from NATS. It does not block: what does not fit is turned away.
func (i *Instance) take(b []byte, answer func([]byte) error) {
	if len(b) == 0 {
		return // an edge that wants to know whether anybody listens
	}
	task, err := contracts.ReadTask(b)
	if err != nil {
		i.opts.Logger.Error("what came is no call: does another version run in this cluster?")
		return
	}
	now := time.Now()
	i.last.Store(now.UnixNano())
	if i.inFlight.Add(1) > int64(cap(i.queue)) {
		i.inFlight.Add(-1)
		i.say(answer, answerBusy)
		return
	}
	i.queue <- job{task, now.Add(task.Timeout), answer} // has room for all that are in flight
}

func (i *Instance) say(answer func([]byte) error, b []byte) {
	if err := answer(b); err != nil {
		i.opts.Logger.Warn("an answer could not be sent", slog.Any("error", err))
	}
}

// loop works off one call after the other.
func (i *Instance) loop() {
	for {
		select {
		case j := <-i.queue:
			i.say(j.answer, i.carryOut(j))
			i.inFlight.Add(-1)
		case <-i.ctx.Done():
			return
		}
	}
}

// carryOut has the handler carry out a call, unless nobody waits for that any more.
func (i *Instance) carryOut(j job) []byte {
	began := time.Now()
	if began.After(j.until) {
		return answerLate
	}
	ctx, cancel := context.WithDeadline(i.ctx, j.until)
	defer cancel()
	data, err := i.handle(ctx, Call{j.task.Client, j.task.Session, j.task.ID, j.task.Key, j.task.Data})
	took := int64(time.Since(began))
	old := i.latency.Load()
	i.latency.Store(old + (took-old)/8) // two at a time may lose one: it is an estimate
	if err == nil && (len(data) > MaxAnswer || !contracts.ValidData(data)) {
		i.opts.Logger.Error("a handler's answer is no JSON value on one line, or too large", slog.Int("bytes", len(data)))
		err = errInternal
	}
	if err != nil {
		told, ok := errors.AsType[*contracts.Error](err)
		if !ok {
			told = errInternal
		}
		return contracts.AppendAnswer(nil, contracts.Answer{Error: told})
	}
	return contracts.AppendAnswer(nil, contracts.Answer{Data: data})
}

// handle contains a handler that panics.
func (i *Instance) handle(ctx context.Context, c Call) (data json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			i.opts.Logger.Error("a handler has panicked", slog.Any("panic", p))
			data, err = nil, errInternal
		}
	}()
	return i.opts.Handler(ctx, c)
}

// quiet is how long no call has come for when a drain takes the instance for empty.
const quiet = 2 * time.Second

// Drain has the instance get no new keys, and keep those that it has: until none of them has called for two seconds, or ctx ends. Then call Close.
func (i *Instance) Drain(ctx context.Context) {
	if !i.draining.Swap(true) {
		i.last.Store(time.Now().UnixNano())
	}
	i.reg.Report()
	tick := time.NewTicker(quiet / 20)
	defer tick.Stop()
	for i.InFlight() > 0 || time.Now().UnixNano()-i.last.Load() < int64(quiet) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close says that the instance has ended, so that its keys move, carries out what it has, and ends. At the latest when ctx ends, what is still under
// way is broken off. Every call waits for the first, and returns its error.
func (i *Instance) Close(ctx context.Context) error {
	i.closing.Do(func() {
		i.draining.Store(true)
		i.ended.Store(true)
		i.reg.Report()
		i.empty(ctx, closeGrace, false) // edges hear it before they find nobody
		i.err = i.reg.Leave(ctx)
		i.empty(ctx, closeGrace, true)
		i.reg.Close()
		i.release(ctx)
	})
	return i.err
}

// closeGrace is how long an instance still takes what edges send that have not heard yet that it is ending, and then how long it
// waits for what has come to be handed over.
const closeGrace = 100 * time.Millisecond

// empty waits for a while and, if done, until nothing is under way.
func (i *Instance) empty(ctx context.Context, grace time.Duration, done bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for time.Since(began) < grace || done && i.InFlight() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// release ends the workers, and the connection if it is the instance's own.
func (i *Instance) release(ctx context.Context) {
	if i.opts.Conn == nil {
		i.conn.Drain(ctx)
	}
	i.cancel()
	i.work.Wait()
}
