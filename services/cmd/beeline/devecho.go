package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/backend"
)

// The example service that dev runs: it answers with what it was called with, and which instance it is.
const (
	echoService   = "echo"
	echoInstances = 3
)

// startEcho starts the instances of the example service.
func (d *dev) startEcho(ctx context.Context, c *cluster) error {
	for n := range echoInstances {
		id := contracts.InstanceID(fmt.Sprint(echoService, "-", n+1))
		i, err := backend.Register(ctx, backend.Options{
			Cluster: c.plan.name, Service: echoService, Instance: id, NATS: broker.Config{URLs: []string{c.nats}, Name: "service " + string(id)},
			Handler: echo(id), Logger: d.log,
		})
		if err != nil {
			return fmt.Errorf("instance %s did not start: %w", id, err)
		}
		d.started = append(d.started, part{
			layer: layerServices, name: "service " + echoService, address: string(id), about: "example of a backend", stop: i.Close,
		})
	}
	return nil
}

// echo returns what an instance does with a call.
func echo(id contracts.InstanceID) backend.Handler {
	return func(_ context.Context, c backend.Call) (json.RawMessage, error) {
		return json.RawMessage(fmt.Sprintf(`{"instance":%q,"data":%s}`, id, c.Data)), nil
	}
}
