package bench

import (
	"context"
	"errors"
	"time"

	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// Env is what a work runs against.
type Env struct {
	Driver  Driver
	URLs    []string                            // one for each node
	Servers []usage.Process                     // whom to charge; none: then no CPU and no memory are told
	Token   func(client string) (string, error) // what a client logs in with; nil: by its name

	// Query returns what a client adds to the address that it connects to, such as a ticket; nil: nothing.
	Query func(client string) string

	// Command starts this program as one of its parts, whose name is added to it. See [ServePart].
	Command []string
	// Progress is told how it goes, in a few words, about once a second. nil: nobody looks.
	Progress func(string)
	// Profile is called when the measured part begins, and takes CPU profiles of that long. nil: nobody wants them.
	Profile func(ctx context.Context, d time.Duration) error
	// Victim is the node at the first of the URLs, for the work storm.
	Victim Victim
	// Spent returns what was asked of Redis and of NATS so far. nil: not known.
	Spent func(ctx context.Context) (Spent, error)

	// Round is the number of the round, from 0: a work that goes several ways begins with another one in each.
	Round int
	// Proxies are in front of the instances that the nodes call too, for [HTTPCalls].
	Proxies []Proxy
	// Accepted returns how many connections these instances have accepted so far.
	Accepted func(ctx context.Context) (uint64, error)
}

// Spent is what was asked of the servers behind the nodes, since they started.
type Spent struct {
	Redis uint64 // commands
	NATS  uint64 // messages, in and out
}

// Work is something that can be measured.
type Work interface {
	// Name is what the work is called.
	Name() string
	// Validate tells in one sentence what is wrong with how it is asked for.
	Validate(env Env) error
	// Run does it once.
	Run(ctx context.Context, env Env) (*Result, error)
}

// validate is what all works need.
func (e Env) validate() error {
	switch {
	case len(e.URLs) == 0:
		return errors.New("no address of a node is given")
	case e.Driver == nil:
		return errors.New("no driver is given")
	}
	return nil
}

func (e Env) progress(text string) {
	if e.Progress != nil {
		e.Progress(text)
	}
}

// login says how a client of this run connects to a node.
func (e Env) login(client string, node int) (Login, error) {
	l := Login{URL: e.URLs[node%len(e.URLs)], Client: client}
	if e.Query != nil {
		l.URL += "?" + e.Query(client)
	}
	if e.Token == nil {
		return l, nil
	}
	var err error
	l.Token, err = e.Token(client)
	return l, err
}
