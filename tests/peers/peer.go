package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/beeline-rt/beeline/tools/bench"
)

// peer is a system that is compared: one file has the driver of its protocol, how it is started, and this.
type peer struct {
	name    string // on the command line and in the JSON
	title   string // in the table
	answer  string // what its good answer to a message says: systems promise different things
	driver  bench.Driver
	only    string                          // the one work that it takes part in; empty: all
	prepare func(ctx context.Context) error // installs what is missing, or says what to install; nil: nothing
	start   func(ctx context.Context) (*running, error)
}

// peers are all there are. The first is what the others are compared with.
func peers() []peer { return []peer{beeline(), socketio(), socketioAck(), socketioPosted()} }

// running is a system that was started.
type running struct {
	bench.System

	about string // versions
	stop  func()
}

// takes reports whether a peer takes part in a work.
func (p peer) takes(w bench.Work) bool { return p.only == "" || p.only == w.Name() }

// choose returns the peers with these names, after Beeline, which is always there.
func choose(names []string) ([]peer, error) {
	all := peers()
	chosen := all[:1:1]
	for _, name := range names {
		i := slices.IndexFunc(all, func(p peer) bool { return p.name == name })
		switch {
		case i < 0:
			return nil, fmt.Errorf("there is no peer %q: there are %s", name, strings.Join(peerNames(), ", "))
		case i > 0:
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

// usual are those that it is compared with unless others are asked for: more do not fit beside each other.
const usual = "socketio,socketio-ack"

// peerNames are those that Beeline can be compared with.
func peerNames() (names []string) {
	for _, p := range peers()[1:] {
		names = append(names, p.name)
	}
	return names
}
