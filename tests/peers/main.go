// Command peers measures Beeline beside other systems: the same works, with the same clients and checks, on the same machine,
// turn about. Run it as ./task bench:peers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/beeline-rt/beeline/tools/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options say how it is measured.
type options struct {
	short  bool
	json   bool
	rounds int
	peers  string
	works  string
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 3 && args[0] == partArg {
		return servePart(ctx, args[1], args[2], stdin, stdout)
	}
	var o options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.short, "short", false, "one short round: one and a half minutes, to see that it works")
	flags.BoolVar(&o.json, "json", false, "one line of JSON in place of the table")
	flags.IntVar(&o.rounds, "rounds", 0, "how often each work is run (default 3, with --short 1)")
	flags.StringVar(&o.peers, "peers", usual, "which to compare with: "+strings.Join(peerNames(), ", "))
	flags.StringVar(&o.works, "works", "", "only works whose name begins so, such as direct")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds == 0 {
		o.rounds = 3
		if o.short {
			o.rounds = 1
		}
	}
	if flags.NArg() > 0 || o.rounds < 1 {
		return errors.New("there are no arguments but the flags, and --rounds must be at least 1")
	}
	chosen, err := choose(strings.Split(o.peers, ","))
	if err != nil {
		return err
	}
	c, err := compare(ctx, o, chosen, stderr)
	if err != nil {
		return err
	}
	if err := c.write(stdout, o.json); err != nil {
		return err
	}
	return c.verdict()
}

// partArg is the argument by which this program starts itself as a part of a measurement, for a peer.
const partArg = "part"

func servePart(ctx context.Context, name, role string, in io.Reader, out io.Writer) error {
	for _, p := range peers() {
		if p.name == name {
			return bench.ServePart(ctx, role, p.driver, in, out)
		}
	}
	return fmt.Errorf("there is no peer %q", name)
}
