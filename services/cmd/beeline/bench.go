package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/token"
	"github.com/beeline-rt/beeline/tools/bench"
	"github.com/beeline-rt/beeline/tools/bench/usage"
)

// benchCmd measures what a message costs.
type benchCmd struct {
	Direct  benchDirectCmd  `cmd:"" help:"Messages between pairs of clients on different nodes: what one costs, and how long it takes."`
	Fanout  benchFanoutCmd  `cmd:"" help:"Messages to a group whose members are on all nodes: what a delivery costs, and how long it takes."`
	Calls   benchCallsCmd   `cmd:"" help:"Calls of a backend service, many at a time on each connection: what one costs, and how long it takes."`
	Idle    benchIdleCmd    `cmd:"" help:"Connections over which nothing is said: memory, and CPU to connect and to keep them."`
	Storm   benchStormCmd   `cmd:"" help:"Clients that lose their node at once: how long until all are back, and what it takes."`
	Churn   benchChurnCmd   `cmd:"" help:"Messages while recipients reconnect all the time: what is lost, doubled or out of order."`
	Gateway benchGatewayCmd `cmd:"" help:"Messages and connections through a gateway, beside the same through HAProxy: what each costs."`
	Check   benchCheckCmd   `cmd:"" help:"Compare short runs with the baseline that is kept with the source, and fail when one is 25 % worse."`
	Part    benchPartCmd    `cmd:"" hidden:"" help:"Be a part of a measurement. Only bench itself starts it."`
}

// Help is the text between the usage and the flags.
func (*benchCmd) Help() string {
	return "Against a system of its own, which needs a redis-server on PATH and nothing else:\n\n" +
		"  beeline bench direct --self\n" +
		"  beeline bench direct --self --rate 5000 --floor --rounds 3\n\n" +
		"Or against one that runs, with whom to charge:\n\n" +
		"  beeline bench direct --url ws://127.0.0.1:8081 --url ws://127.0.0.1:8082 --pids a1=4711,a2=4712,nats=4713\n\n" +
		"CPU and memory are those of the servers, as the operating system counts them; what the clients of the" +
		" measurement take is never among them. A run in which a message is not accounted for has failed: exit code 1."
}

// benchFlags are those of every work.
type benchFlags struct {
	URLs     []string      `name:"url" placeholder:"URL" help:"Node to connect to: ws:// or wss://; repeat it for the others."`
	PIDs     []string      `name:"pids" placeholder:"NAME=PID" help:"Processes of this machine to charge, such as a1=4711,redis=4712; by what comes before = they are called in the results. Redis and NATS must be called redis and nats: no client connects to them."`
	Admins   []string      `name:"admin" placeholder:"[NAME=]URL" help:"In place of --pids for edges: the addresses of their metrics, such as http://127.0.0.1:9081, which tell what they have taken."`
	TokenKey string        `name:"token-key" env:"BEELINE_TOKEN_KEY" placeholder:"KEY" help:"Key to sign the clients' tokens with, as for beeline token. Not given: they name themselves, which only a server in development believes."`
	Self     bool          `name:"self" help:"Start a system of its own for each round, on this machine, each part a process: NATS, Redis and edges, with no limit on rates. BEELINE_* variables are the edges' settings."`
	Edges    int           `name:"edges" default:"2" placeholder:"${default}" help:"With --self: how many edges."`
	Warm     time.Duration `name:"warm-up" default:"2s" placeholder:"${default}" help:"Before anything is measured."`
	For      time.Duration `name:"for" default:"10s" placeholder:"${default}" help:"How long is measured, in each round."`
	Rounds   int           `name:"rounds" default:"1" placeholder:"${default}" help:"How often; then medians are told, and the least and the most."`
	Floor    bool          `name:"floor" help:"After each round, measure what cannot be avoided, at the same rate, and tell results as ratios to it: for messages, a bare write for each delivery and a bare NATS message; for connections, a bare accept. A ratio holds on a noisy machine, a time does not."`
	JSON     bool          `name:"json" help:"One line of JSON in place of the table. tools/bench/README.md explains the names."`
	Plot     string        `name:"plot" placeholder:"FILE" help:"Draw the latency over the (last) round into an SVG file."`
	Profile  string        `name:"profile" placeholder:"DIR" help:"Save a CPU profile of each edge over the measured part. Edges that are not --self's must run with --profiles, and be given with --admin."`

	kill int // process that the work storm ends, if it is not one of --self

	service   string // that the work calls needs with --self, and how many instances of it
	instances int
	http      *httpCalls // not nil: they are HTTP servers
}

// target is a system that is measured.
type target struct {
	env    bench.Env
	admins map[string]string // by the name of the edge
	nats   string            // of a system that was started here
	stop   func(context.Context) error
}

// check refuses flags that do not say, or say twice, what is measured.
func (f *benchFlags) check() error {
	switch {
	case f.Self && (len(f.URLs) > 0 || len(f.PIDs) > 0 || len(f.Admins) > 0 || f.TokenKey != ""):
		return usagef("--self starts a system of its own: leave out --url, --pids, --admin and --token-key")
	case !f.Self && len(f.URLs) == 0:
		return usagef("say what is measured: --self, or --url for each node of a system that runs")
	case f.Self && f.Edges < 1:
		return usagef("--edges must be at least 1")
	case f.Rounds < 1:
		return usagef("--rounds must be at least 1")
	}
	return nil
}

// open returns the system to measure. The caller stops it.
func (f *benchFlags) open(ctx context.Context, p *process) (*target, error) {
	command, err := benchPart()
	if err != nil {
		return nil, err
	}
	if f.Self && f.http != nil {
		return f.openHTTP(ctx, command)
	}
	if f.Self {
		t, err := startSelf(ctx, f.Edges, command, f.Profile != "")
		if err != nil {
			return nil, err
		}
		return f.withBackend(ctx, command, t)
	}
	t := &target{admins: map[string]string{}, stop: func(context.Context) error { return nil }}
	t.env = bench.Env{Driver: bench.Beeline{}, Command: command}
	for _, text := range f.URLs {
		address, err := connectFlags{URL: text}.address()
		if err != nil {
			return nil, err
		}
		t.env.URLs = append(t.env.URLs, address)
	}
	if t.env.Token, err = signer(f.TokenKey, p.now); err != nil {
		return nil, err
	}
	if f.kill > 0 {
		t.env.Victim = bench.Victim{Kill: func() error { return killProcess(f.kill) }}
	}
	return t, f.charge(t)
}

// charge takes down whom to charge.
func (f *benchFlags) charge(t *target) error {
	for _, text := range f.PIDs {
		name, number, _ := strings.Cut(text, "=")
		var pid int
		if _, err := fmt.Sscanf(number, "%d", &pid); err != nil || name == "" || pid < 1 {
			return usagef("--pids: %q is not a name and a process id, such as a1=4711", text)
		}
		t.env.Servers = append(t.env.Servers, usage.Process{Name: name, Source: usage.PID(pid), Client: !isBroker(name)})
		if pid == f.kill {
			t.env.Victim.Name = name
		}
	}
	for i, text := range f.Admins {
		name, address, named := strings.Cut(text, "=")
		if !named {
			name, address = fmt.Sprint("edge", i+1), text
		}
		if !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://") {
			return usagef("--admin: %q is not an address such as http://127.0.0.1:9081", text)
		}
		t.admins[name] = address
		if len(f.PIDs) == 0 {
			t.env.Servers = append(t.env.Servers, usage.Process{Name: name, Source: usage.Admin(address), Client: true})
		}
	}
	return nil
}

// killProcess ends a process as kill -9 does.
func killProcess(pid int) error {
	victim, err := os.FindProcess(pid)
	if err == nil {
		err = victim.Kill()
	}
	if err != nil {
		return fmt.Errorf("--kill %d: %w", pid, err)
	}
	return nil
}

// isBroker reports whether a process is one behind the edges.
func isBroker(name string) bool {
	return strings.HasPrefix(name, "redis") || strings.HasPrefix(name, "nats")
}

// benchTokenTime is how long the clients' tokens are good: no run takes longer.
const benchTokenTime = 24 * time.Hour

// signer makes tokens that allow all that a work does. Without a key there are none.
func signer(key string, now func() time.Time) (func(string) (string, error), error) {
	if key == "" {
		return nil, nil
	}
	keys, err := token.ParseKeys([]string{key})
	if err != nil {
		return nil, usagef("--token-key: %w", err)
	}
	all, err := token.NewPatterns("*")
	if err != nil {
		return nil, err
	}
	return func(client string) (string, error) {
		return token.Issue(keys[0], token.Claims{Client: client, Expires: now().Add(benchTokenTime), Send: all, Groups: all, Call: all}, now())
	}, nil
}

// run does the rounds of a work, and tells what they have shown.
func (f *benchFlags) run(ctx context.Context, p *process, w bench.Work, settings map[string]string) error {
	if err := f.check(); err != nil {
		return err
	}
	report, err := f.measure(ctx, p, w, settings)
	if ctx.Err() != nil {
		return &quietError{} // Ctrl-C
	}
	if err != nil {
		return err
	}
	return f.conclude(p, report)
}

// conclude tells what the rounds have shown. Its error is what was not kept.
func (f *benchFlags) conclude(p *process, report *bench.Report) error {
	if err := f.tell(p, report); err != nil {
		return err
	}
	if f.Plot != "" {
		if err := savePlot(f.Plot, report); err != nil {
			return err
		}
	}
	if n := report.Outcomes[string(contracts.RateLimited)]; n > 0 {
		fmt.Fprintf(p.stderr, "%d messages were rate_limited: start the edges with --message-rate 0 --byte-rate 0 to measure more\n", n)
	}
	if len(report.Broken) > 0 {
		return fmt.Errorf("this run does not count: %s", strings.Join(report.Broken, "; "))
	}
	return nil
}

// measure does the rounds of a work.
func (f *benchFlags) measure(ctx context.Context, p *process, w bench.Work, settings map[string]string) (*bench.Report, error) {
	var rounds []*bench.Result
	for round := range f.Rounds {
		r, err := f.round(ctx, p, w, round)
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, r)
	}
	return bench.NewReport(w.Name(), settings, rounds), nil
}

func (f *benchFlags) tell(p *process, r *bench.Report) error {
	if f.JSON {
		return r.WriteJSON(p.stdout)
	}
	return r.WriteTable(p.stdout)
}

// round does the work once, and the floor after it.
func (f *benchFlags) round(ctx context.Context, p *process, w bench.Work, number int) (*bench.Result, error) {
	prefix := ""
	if f.Rounds > 1 {
		prefix = fmt.Sprintf("round %d of %d: ", number+1, f.Rounds)
	}
	progress, done := p.progressLine(prefix)
	defer done()
	r, err := f.work(ctx, p, w, number, progress)
	floored, ok := w.(bench.Floored)
	if err != nil || !f.Floor || !ok {
		return r, err
	}
	command, err := benchPart()
	if err != nil {
		return nil, err
	}
	return r, floored.Floor(ctx, bench.Env{Command: command, Progress: progress}, r)
}

// work does it once, on a system that is up for just that long, if it is one of its own.
func (f *benchFlags) work(ctx context.Context, p *process, w bench.Work, round int, progress func(string)) (r *bench.Result, err error) {
	if f.Self { // before anything is started
		if err := w.Validate(f.plan()); err != nil {
			return nil, usagef("%w (see beeline bench %s --help)", err, w.Name())
		}
	}
	progress("starting")
	t, err := f.open(ctx, p)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := t.stop(context.WithoutCancel(ctx)); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("stop: %w", stopErr))
		}
	}()
	t.env.Progress, t.env.Round = progress, round
	if f.Profile != "" {
		t.env.Profile = func(ctx context.Context, d time.Duration) error { return saveProfiles(ctx, f.Profile, t.admins, d) }
	}
	if err := w.Validate(t.env); err != nil {
		return nil, usagef("%w (see beeline bench %s --help)", err, w.Name())
	}
	r, err = w.Run(ctx, t.env)
	return r, explainBench(err)
}

// plan is the system that --self would start, as far as a work asks before it runs.
func (f *benchFlags) plan() bench.Env {
	return bench.Env{
		Driver: bench.Beeline{}, Command: []string{"beeline"}, URLs: make([]string, f.Edges),
		Victim: bench.Victim{Kill: func() error { return nil }},
		Spent:  func(context.Context) (bench.Spent, error) { return bench.Spent{}, nil },
	}
}

// explainBench adds what to do about the usual reasons why clients cannot connect.
func explainBench(err error) error {
	var answer *contracts.Error
	if errors.As(err, &answer) && answer.Code == contracts.CodeUnauthorized {
		// As text: what the server said would otherwise be all that is printed.
		return errors.New(err.Error() + " (give --token-key with the key that its tokens are signed with)")
	}
	return explainDial(err, "")
}

// progressLine returns a function that tells a person how it goes, on a line that is written again and again.
func (p *process) progressLine(prefix string) (tell func(string), done func()) {
	if !p.terminal {
		return func(string) {}, func() {}
	}
	const clear = "\r\x1b[K"
	return func(text string) { fmt.Fprint(p.stderr, clear, prefix, printable(text)) }, func() { fmt.Fprint(p.stderr, clear) }
}

// benchPart is how this program is started as a part of a measurement.
func benchPart() ([]string, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{path, "bench", "part"}, nil
}

// benchDirectCmd is the work direct.
type benchDirectCmd struct {
	Bench  benchFlags `embed:""`
	Pairs  int        `name:"pairs" default:"200" placeholder:"${default}" help:"Senders, each with a recipient of its own: the senders on the first half of the nodes, the recipients on the second."`
	Size   size       `name:"size" default:"128" placeholder:"${default}" help:"Data of a message, in bytes."`
	Rate   float64    `name:"rate" placeholder:"N" help:"Messages per second of all pairs together, each at its time: an open loop, for latency. Not given: a closed loop, for throughput."`
	Burst  int        `name:"burst" default:"1" placeholder:"${default}" help:"With --rate: so many messages are due at the same moment, each of another pair. 1 is the dearest: nothing can be gathered."`
	Window int        `name:"window" default:"16" placeholder:"${default}" help:"Without --rate: messages of a pair that may wait for their answer."`
	Batch  bool       `name:"batch" help:"Without --rate: what was answered together is followed by one frame with as many requests, as client libraries do; not given, each request is a frame."`
}

// Help is the text between the usage and the flags.
func (*benchDirectCmd) Help() string {
	return "How many messages the servers carry, and what CPU time each takes:\n\n" +
		"  beeline bench direct --self\n\n" +
		"How long one takes when they are not busy:\n\n" +
		"  beeline bench direct --self --rate 5000\n\n" +
		"With a rate, latency counts from when a message was due, whether or not it could be sent then: a server that" +
		" stalls is charged with all that it held up."
}

// Run runs the work.
func (c *benchDirectCmd) Run(ctx context.Context, p *process) error {
	settings := map[string]string{"pairs": fmt.Sprint(c.Pairs), "size": c.Size.String(), "measured": c.Bench.For.String(), "rate": fmt.Sprint(c.Rate), "burst": fmt.Sprint(c.Burst)}
	if c.Rate == 0 {
		delete(settings, "burst")
		settings["rate"], settings["window"], settings["batch"] = "as many as can be", fmt.Sprint(c.Window), fmt.Sprint(c.Batch)
	}
	return c.Bench.run(ctx, p, bench.Direct{
		Pairs: c.Pairs, Size: int(c.Size), Rate: c.Rate, Burst: c.Burst, Window: c.Window, Batch: c.Batch, Warm: c.Bench.Warm, For: c.Bench.For, Plot: c.Bench.Plot != "",
	}, settings)
}
