// Package calls brings each call of a client to an instance of the service that it is for, and the answer back: to the instance that has
// the call's key, or else to one that the service's policy chooses by load. It does not know who called (edge), nor what carries
// calls (broker), nor where the table of keys is kept (presence).
//
// A call that does not say that it is idempotent is never carried out twice: it is tried elsewhere only after proof that nobody has
// carried it out.
package calls

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// Bus carries calls to instances.
type Bus interface {
	// Call sends a call to a start of an instance; w is told what became of it, also when it could not be sent.
	Call(to contracts.Subject, task []byte, deadline time.Time, w broker.CallWaiter)
	// Abandon ends all calls that these starts of instances have. It looks at every call there is.
	Abandon(all []contracts.Subject)
	// Missed tells all nodes that that start of an instance is not there.
	Missed(s contracts.ServiceName, i contracts.InstanceID, e contracts.Epoch)
	// Summon has an instance report; w is told if no start of it is there.
	Summon(s contracts.ServiceName, i contracts.InstanceID, deadline time.Time, w broker.CallWaiter)
	// RollCall has all instances report.
	RollCall()
	// Connected tells whether reports can come.
	Connected() bool
}

// Done is told once what became of a call: data if it was answered, else the problem. It is called from any goroutine, and
// must not block.
type Done = func(o contracts.CallOutcome, data []byte, problem *contracts.Error)

// Dispatcher chooses instances for the calls of one node. It is safe for concurrent use; make one with [New].
type Dispatcher struct {
	// set once
	cfg      Config
	log      *slog.Logger
	carrier  atomic.Pointer[Bus] // idle until there is one: reports may come while it is being opened
	http     *http.Client
	bindings *bindings
	ignoring rate.Sometimes  // what is logged of it
	ctx      context.Context // ends when the dispatcher is closed
	cancel   context.CancelFunc

	services atomic.Pointer[map[contracts.ServiceName]*service]
	adding   sync.Mutex // orders changes of services
	counters counters

	closing sync.RWMutex
	closed  bool // guarded by closing
	work    sync.WaitGroup
}

// New returns a dispatcher. Call [Dispatcher.Start] before anything else but the methods of a broker.ReportHandler. cfg must be valid.
func New(cfg Config, t Table, log *slog.Logger) *Dispatcher {
	d := &Dispatcher{cfg: cfg, log: log, http: newHTTPClient(), bindings: newBindings(t, cfg.Keys), ignoring: rate.Sometimes{Interval: time.Minute}}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	all := map[contracts.ServiceName]*service{}
	var none Bus = idle{}
	d.carrier.Store(&none)
	for name := range cfg.Services {
		all[name] = newService(d, name, cfg.of(name))
	}
	d.services.Store(&all)
	return d
}

// Start takes the bus, which needs the dispatcher as its handler and so comes after it, and starts the dispatcher's own work.
func (d *Dispatcher) Start(ctx context.Context, b Bus) {
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.carrier.Store(&b)
	for _, s := range *d.services.Load() {
		d.startHTTP(s)
	}
	d.work.Go(d.watch)
}

func (d *Dispatcher) bus() Bus { return *d.carrier.Load() }

// Reported takes what an instance says of itself, and where this start of it gets its calls. It is part of broker.ReportHandler.
func (d *Dispatcher) Reported(r contracts.Report, at contracts.Subject) {
	s := (*d.services.Load())[r.Service]
	if s == nil {
		s = d.add(r.Service)
	}
	if s == nil || !s.reported(r, at) {
		d.counters.ignored.Add(1)
		d.ignoring.Do(func() {
			d.log.Error("an instance of a service gets no calls: there are too many, or its service is configured to have addresses",
				slog.String("service", string(r.Service)), slog.String("instance", string(r.Instance)))
		})
	}
}

// add takes note of a service that nobody has configured. When there are too many, those without an instance make way.
func (d *Dispatcher) add(name contracts.ServiceName) *service {
	d.adding.Lock()
	defer d.adding.Unlock()
	old := *d.services.Load()
	if s := old[name]; s != nil {
		return s
	}
	all := maps.Clone(old)
	if len(all) >= maxServices {
		maps.DeleteFunc(all, func(name contracts.ServiceName, s *service) bool {
			_, configured := d.cfg.Services[name]
			return !configured && s.deserted()
		})
	}
	if len(all) >= maxServices {
		return nil
	}
	s := newService(d, name, d.cfg.of(name))
	all[name] = s
	d.services.Store(&all)
	return s
}

// Missed takes note that another node finds nobody there, or has until now: this one must not go on to send keys there that the
// other gives to another instance. It is part of broker.ReportHandler.
func (d *Dispatcher) Missed(name contracts.ServiceName, id contracts.InstanceID, e contracts.Epoch) {
	if s := (*d.services.Load())[name]; s != nil {
		switch i := s.find(id); {
		case i == nil || i.epoch != e: // that a start is gone says nothing of the next
		case i.target != nil:
			i.life.Add(1) // which this node finds out for itself; but the table is to be asked who has its keys now
		default:
			s.gone(i)
		}
	}
}

// watch looks after the instances of all services.
func (d *Dispatcher) watch() {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	var deaf time.Time // until when
	missed := false    // reports may have come meanwhile
	for {
		select {
		case <-d.ctx.Done():
			return
		case now := <-tick.C:
			// A node that is cut off hears no reports, which says nothing of the instances; nor does it when it has just come back.
			switch {
			case !d.bus().Connected():
				deaf, missed = now.Add(knowTime), true
			case missed:
				missed = false
				d.bus().RollCall()
			}
			if now.Before(deaf) {
				continue
			}
			d.look(now)
		}
	}
}

// look looks at all instances, and gives up what is lost.
func (d *Dispatcher) look(now time.Time) {
	var given []contracts.Subject
	for _, s := range *d.services.Load() {
		probe, dead, lost := s.watch(now)
		for _, i := range probe {
			d.bus().Call(i.at, nil, now.Add(time.Second), probing{i})
		}
		for _, i := range dead {
			d.dead(i, "it does not report")
			given = append(given, i.at)
		}
		for _, i := range lost {
			given = append(given, i.at)
		}
	}
	if len(given) > 0 {
		d.bus().Abandon(given)
	}
}

// dead takes note that an instance is gone: its keys move, and what it has is given up soon. It returns whether that is news.
func (d *Dispatcher) dead(i *instance, why string) bool {
	s := i.service
	if !s.gone(i) {
		return false
	}
	d.counters.deaths.Add(1)
	if s.lines.Allow() {
		said := []any{slog.String("service", string(s.name)), slog.String("instance", string(i.id)), slog.String("why", why)}
		if i.target != nil {
			said = append(said, slog.String("host", i.target.host))
		}
		d.log.Warn("an instance of a service is gone", said...)
	}
	d.bus().Missed(s.name, i.id, i.epoch)
	return true
}

// probing waits for the word that nobody is there. An instance does not answer an empty call.
type probing struct{ i *instance }

// Ended takes that word.
func (p probing) Ended(_ []byte, st contracts.Status) {
	if st == contracts.StatusNobody {
		p.i.service.dispatcher.dead(p.i, "nobody listens")
	}
}

// spawn runs f on a goroutine, unless the dispatcher is closed.
func (d *Dispatcher) spawn(f func()) bool {
	d.closing.RLock()
	defer d.closing.RUnlock()
	if d.closed {
		return false
	}
	d.work.Go(f)
	return true
}

// pause waits, and returns false if the dispatcher is closed before that is over.
func (d *Dispatcher) pause(t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.ctx.Done():
		return false
	}
}

// Close takes no more calls, and waits for its own work. Calls over the bus end with that.
func (d *Dispatcher) Close() {
	d.closing.Lock()
	d.closed = true
	d.closing.Unlock()
	if d.cancel != nil {
		d.cancel()
	}
	d.work.Wait()
	d.http.CloseIdleConnections()
}

// idle is the bus before there is one.
type idle struct{}

func (idle) Call(_ contracts.Subject, _ []byte, _ time.Time, w broker.CallWaiter) {
	w.Ended(nil, contracts.StatusUnavailable)
}

func (idle) Summon(_ contracts.ServiceName, _ contracts.InstanceID, _ time.Time, w broker.CallWaiter) {
	w.Ended(nil, contracts.StatusUnavailable)
}
func (idle) Abandon([]contracts.Subject)                                         {}
func (idle) Missed(contracts.ServiceName, contracts.InstanceID, contracts.Epoch) {}
func (idle) RollCall()                                                           {}
func (idle) Connected() bool                                                     { return false }
