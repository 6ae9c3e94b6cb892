package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/beeline-rt/beeline/contracts"
)

// Instance is one instance of a service: it gets calls, and reports. It is registered with micro, so that `nats micro list` and
// whoever else knows that finds it and its statistics. It is safe for concurrent use.
type Instance struct {
	// set once
	conn    *Conn
	subject contracts.Subject
	report  func() contracts.Report
	service micro.Service
	roll    *nats.Subscription
	summon  *nats.Subscription
	now     chan struct{}
	stop    chan struct{}
	work    sync.WaitGroup
}

// serviceVersion is that of the wire format between edge and instance, for micro.
const serviceVersion = "1.0.0"

// Serve gets the calls of one start of an instance. handle is called for one call after the other, and must not block; answer may be called once, from any goroutine, with
// what contracts.AppendAnswer makes. report is asked for every third of its Life, and must not block.
func Serve(ctx context.Context, conn *Conn, cluster contracts.ClusterName, report func() contracts.Report, handle func(task []byte, answer func([]byte) error)) (*Instance, error) {
	first := report()
	i := &Instance{
		conn: conn, report: report, now: make(chan struct{}, 1), stop: make(chan struct{}),
		subject: contracts.ReportSubject(cluster, first.Service, first.Instance),
	}
	var err error
	i.service, err = micro.AddService(conn.nc, micro.Config{
		Name: string(first.Service), Version: serviceVersion, Description: "a Beeline service",
		Metadata:     map[string]string{"cluster": string(cluster), "instance": string(first.Instance), "epoch": strconv.FormatUint(uint64(first.Epoch), 10)},
		StatsHandler: func(*micro.Endpoint) any { return json.RawMessage(contracts.AppendReport(nil, report())) },
	})
	if err != nil {
		return nil, fmt.Errorf("register service %s: %w", first.Service, err)
	}
	if err = i.subscribe(ctx, cluster, first, handle); err != nil {
		_ = i.service.Stop()
		_, _ = i.summon.Unsubscribe(), i.roll.Unsubscribe()
		return nil, err
	}
	i.publish()
	i.work.Go(func() { i.run(first.Life / 3) })
	return i, nil
}

func (i *Instance) subscribe(ctx context.Context, cluster contracts.ClusterName, r contracts.Report, handle func([]byte, func([]byte) error)) error {
	to := contracts.InstanceSubject(cluster, r.Service, r.Instance, r.Epoch)
	// The edge has chosen the start of the instance. The queue group is for two processes that were started under one id at the very same time, or by a
	// clock that does not tell: they must not both carry out a call.
	err := i.service.AddEndpoint("call", micro.HandlerFunc(func(q micro.Request) {
		handle(q.Data(), func(b []byte) error { return q.Respond(b) })
	}), micro.WithEndpointSubject(string(to)), micro.WithEndpointQueueGroup(string(r.Instance)), micro.WithEndpointPendingLimits(pendingMessages, pendingBytes))
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", to, err)
	}
	asked := func(s contracts.Subject) (sub *nats.Subscription) {
		if err == nil {
			sub, err = i.conn.nc.Subscribe(string(s), func(*nats.Msg) { i.Report() })
		}
		return sub
	}
	i.roll, i.summon = asked(contracts.RollCallSubject(cluster)), asked(contracts.SummonSubject(cluster, r.Service, r.Instance))
	if err != nil {
		return fmt.Errorf("subscribe to roll calls: %w", err)
	}
	if err := i.conn.settle(ctx); err != nil {
		return fmt.Errorf("subscribe service %s: %w", r.Service, err)
	}
	return nil
}

// Report has the instance report now, and not only at its next turn.
func (i *Instance) Report() {
	select {
	case i.now <- struct{}{}:
	default:
	}
}

func (i *Instance) run(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-i.stop:
			return
		case <-tick.C:
		case <-i.now:
		}
		i.publish()
	}
}

func (i *Instance) publish() {
	_ = i.conn.nc.Publish(string(i.subject), contracts.AppendReport(nil, i.report())) // while there is no connection, nobody would hear it
}

// Leave takes no more calls; who sends one hears that nobody is there. What has come is still handed over, answers can be given, and the
// instance goes on to report. Reports should have said before that it has ended: else what it has is soon given up.
func (i *Instance) Leave(ctx context.Context) error {
	if err := i.service.Stop(); err != nil {
		return fmt.Errorf("stop service: %w", err)
	}
	_ = i.summon.Unsubscribe() // who reads of its keys now finds that they are free
	i.conn.part(ctx)
	return nil
}

// Close ends the reports. Call it after Leave.
func (i *Instance) Close() {
	close(i.stop)
	i.work.Wait()
	_ = i.roll.Unsubscribe()
}
