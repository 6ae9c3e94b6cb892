package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/hook"
)

// The events that a backend can be told of.
const (
	eventConnected    = "connected"
	eventDisconnected = "disconnected"
	eventUndelivered  = "undelivered"
)

// EventNames are the events that a backend can be told of.
var EventNames = []string{eventConnected, eventDisconnected, eventUndelivered}

func (c *Config) validateEvents() error {
	for _, name := range c.Events {
		if !slices.Contains(EventNames, name) {
			return fmt.Errorf("%w: events: %q is none: there are %v", ErrConfig, name, EventNames)
		}
	}
	if c.EventsURL != "" && len(c.Events) == 0 {
		return fmt.Errorf("%w: events-url without events: there would be nothing to tell", ErrConfig)
	}
	return nil
}

// startEvents starts to tell a backend of events, and returns what the edge is to tell of.
func (n *Node) startEvents(ctx context.Context, epoch contracts.Epoch) (edge.News, error) {
	var news edge.News
	if n.cfg.EventsURL == "" {
		return news, nil
	}
	events, err := hook.NewEvents(ctx, hook.EventsConfig{
		URL: n.cfg.EventsURL, Secret: n.cfg.EventsSecret,
		Cluster: string(n.cfg.Cluster), Node: string(n.cfg.Node), Start: epoch.String(), Logger: n.log,
	})
	if err != nil {
		return news, fmt.Errorf("%w: events-url: %w", ErrConfig, err)
	}
	n.events = events
	if slices.Contains(n.cfg.Events, eventConnected) {
		news.Connected = func(c contracts.ClientID, s contracts.SessionID) {
			events.Tell(hook.Event{Event: eventConnected, Client: string(c), Session: string(s)})
		}
	}
	if slices.Contains(n.cfg.Events, eventDisconnected) {
		news.Disconnected = func(c contracts.ClientID) { events.Tell(hook.Event{Event: eventDisconnected, Client: string(c)}) }
	}
	if slices.Contains(n.cfg.Events, eventUndelivered) {
		news.Undelivered = func(to contracts.ClientID, frame []byte) {
			events.Tell(hook.Event{Event: eventUndelivered, Client: string(to), Msg: contracts.MsgOf(frame)})
		}
	}
	return news, nil
}
