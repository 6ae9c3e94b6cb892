package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/backend"
)

// The example service that dev runs: it answers with what it was called with, and which instance it is. One that is called with
// crashWord is gone as if its process had been killed, so that one can see what becomes of its keys.
const (
	echoService   = "echo"
	echoInstances = 3
	crashWord     = `"crash"`
)

// startEcho starts the instances of the example service in each cluster.
func (d *dev) startEcho(ctx context.Context, all []*cluster) error {
	for _, c := range all {
		if err := d.startEchoIn(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// startEchoIn starts those of one cluster, each with a connection of its own.
func (d *dev) startEchoIn(ctx context.Context, c *cluster) error {
	for n := range echoInstances {
		id := contracts.InstanceID(fmt.Sprint(echoService, "-", n+1))
		conn, err := broker.Connect(ctx, broker.Config{URLs: []string{c.nats}, Name: "service " + string(id), Logger: d.log})
		if err != nil {
			return fmt.Errorf("instance %s did not start: %w", id, err)
		}
		i, err := backend.Register(ctx, backend.Options{Cluster: c.plan.name, Service: echoService, Instance: id, Conn: conn, Handler: echo(id, conn), Logger: d.log})
		if err != nil {
			conn.Close(ctx)
			return fmt.Errorf("instance %s did not start: %w", id, err)
		}
		d.started = append(d.started, part{
			layer: layerServices, cluster: c.plan.name, name: "service " + echoService, address: string(id), about: "example of a backend",
			stop: func(ctx context.Context) error {
				_ = i.Close(ctx) // one that has crashed cannot say good-bye
				conn.Close(ctx)
				return nil
			},
		})
	}
	return nil
}

// echo returns what an instance does with a call.
func echo(id contracts.InstanceID, conn *broker.Conn) backend.Handler {
	return func(ctx context.Context, c backend.Call) (json.RawMessage, error) {
		if string(c.Data) == crashWord {
			conn.Close(ctx)
		}
		return json.RawMessage(fmt.Sprintf(`{"instance":%q,"data":%s}`, id, c.Data)), nil
	}
}
