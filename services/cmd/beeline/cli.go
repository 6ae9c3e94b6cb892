package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/edge"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command was understood, and failed
	exitUsage  = 2 // the command was not understood, or its configuration cannot work
)

// commands is the grammar of the command line: one field per command, in the order of the help.
type commands struct {
	Version kong.VersionFlag `name:"version" help:"Print the version and exit."`

	Dev      devCmd      `cmd:"" help:"Run a whole system on this machine, to try things out."`
	Edge     edgeCmd     `cmd:"" help:"Run an edge: the server that clients connect to."`
	Registry registryCmd `cmd:"" help:"Run a registry: it tells clients where to connect."`
	Gateway  gatewayCmd  `cmd:"" help:"Run a gateway: it connects clients that have a ticket with their edge."`
	Listen   listenCmd   `cmd:"" help:"Print the messages that reach a client."`
	Send     sendCmd     `cmd:"" help:"Send one message, and say what became of it."`
	Call     callCmd     `cmd:"" help:"Call a backend service, and print its answer."`
	Chat     chatCmd     `cmd:"" help:"Talk to another client, line by line."`
	Token    tokenCmd    `cmd:"" help:"Make a login token, or the keys to make tokens with."`
	APIKey   apikeyCmd   `cmd:"" name:"apikey" help:"Make the key of a backend."`
	Bench    benchCmd    `cmd:"" help:"Measure what a message costs: CPU, latency, memory."`
}

const description = "Real-time messages between clients on different servers. Start with `beeline dev`."

// run does what args, of which the first is how the program was called, ask for, and returns the exit code. Errors are printed as one sentence on stderr.
func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &process{
		program:  args[0],
		getenv:   getenv,
		stdin:    stdin,
		stdout:   &lockedWriter{w: stdout},
		stderr:   &lockedWriter{w: stderr},
		terminal: isTerminal(stderr),
		now:      time.Now,
		start:    startNode,

		startRegistry: startRegistry,
		startGateway:  startGateway,
	}
	return p.run(ctx, args[1:], stdout)
}

// run is the function run with the process made. Help goes to the bare writer, which knows how wide the terminal is.
func (p *process) run(ctx context.Context, args []string, helpTo io.Writer) int {
	var exited bool // by --help or --version
	source := &settings{getenv: p.getenv, environment: map[*kong.Flag]string{}}
	parser, err := newParser(&commands{}, source,
		kong.Writers(helpTo, p.stderr),
		kong.Exit(func(int) { exited = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(p, source),
		kong.PostBuild(func(k *kong.Kong) error { leaveOut(k.Model.Node, args); return nil }),
	)
	if err != nil {
		return p.fail(fmt.Errorf("read the grammar of the command line: %w", err))
	}
	if len(args) == 0 {
		parser.Stdout = p.stderr
		_, _ = parser.Parse([]string{"--help"})
		return exitUsage
	}
	parsed, err := parser.Parse(args)
	switch {
	case exited:
		return exitOK
	case err != nil:
		return p.fail(explainUsage(err))
	}
	return p.fail(parsed.Run())
}

// leaveOut takes the flags of the commands that are not called out of the grammar: kong looks for variables in the texts of all,
// which is nearly all the time that a short command takes.
func leaveOut(n *kong.Node, args []string) {
	called := slices.IndexFunc(n.Children, func(c *kong.Node) bool { return len(args) > 0 && c.Name == args[0] })
	if called < 0 {
		return // all are described, or what was meant is looked for
	}
	for i, c := range n.Children {
		if i == called {
			leaveOut(c, args[1:])
			continue
		}
		_ = kong.Visit(c, func(v kong.Visitable, next kong.Next) error {
			if c, ok := v.(*kong.Node); ok {
				c.Flags, c.Positional = nil, nil
			}
			return next(nil)
		})
	}
}

// newParser builds the grammar with the defaults of the packages that the flags configure.
func newParser(grammar *commands, source *settings, options ...kong.Option) (*kong.Kong, error) {
	options = append([]kong.Option{
		kong.Name("beeline"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ExplicitGroups(slices.Concat(edgeGroups, registryGroups, gatewayGroups)),
		kong.Vars{"version": version()},
		edgeDefaults(),
		callDefaults(edge.DefaultConfig().Calls),
		registryDefaults(),
		gatewayDefaults(),
		kong.PostBuild(source.takeEnvironment),
		kong.Resolvers(source),
	}, options...)
	return kong.New(grammar, options...)
}

// usageError is about how a command was called or configured.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes an error that ends with [exitUsage].
func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// badName is the error of usage for a flag that names a client, a group or a key. err does not say what a name may have.
func badName(flag string, err error) error {
	return usagef("--%s: %w (a name has letters a-z and A-Z, digits and . _ : @ -, at most %d of them)", flag, err, contracts.MaxIDLength)
}

// explainUsage adds to an error of the command line where the right usage is described.
func explainUsage(err error) error {
	command := "beeline"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if selected := parse.Context.Selected(); selected != nil {
			command += strings.TrimPrefix(selected.FullPath(), command)
		}
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		return usage
	}
	return usagef("%w (see %s --help)", err, command)
}

// fail prints err, if it is one, and returns the exit code. What a server said about a request stands by itself.
func (p *process) fail(err error) int {
	var (
		usage  *usageError
		answer *contracts.Error
		quiet  *quietError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintln(p.stderr, "beeline:", sentence(err))
		return exitUsage
	case errors.As(err, &answer):
		fmt.Fprintln(p.stderr, sentence(answer))
	default:
		fmt.Fprintln(p.stderr, "beeline:", sentence(err))
	}
	return exitFailed
}

// sentence returns an error on one line, without what would do something to a terminal: it may quote a server.
func sentence(err error) string { return printable(strings.ReplaceAll(err.Error(), "\n", "; ")) }

// quietError ends a command that has already said what went wrong.
type quietError struct{}

func (*quietError) Error() string { return "failed" }

// version describes the build in one line.
func version() string {
	v := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("beeline %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
