package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/node"
	"github.com/beeline-rt/beeline/services/presence"
)

// edgeGroups are the headings of `beeline edge --help`, each with what a newcomer must know of it.
var edgeGroups = []kong.Group{
	{Key: "cluster", Title: "Cluster", Description: "Who this edge is. Edges of one cluster share NATS and Redis, and deliver for each other."},
	{Key: "clients", Title: "Clients", Description: "Where clients connect, and who may."},
	{Key: "tokens", Title: "Tokens", Description: "Clients log in with a JWT; `beeline token` makes keys and tokens."},
	{Key: "backends", Title: "Backends", Description: "Programs that are no clients: what they may ask of this edge over HTTP, and what they are told by it."},
	{Key: "nats", Title: "NATS", Description: "Carries messages from edge to edge."},
	{Key: "redis", Title: "Redis", Description: "Keeps which edge holds which client. It may be emptied at any time: the edges fill it again."},
	{Key: "limits", Title: "Limits", Description: "What one client, or all together, may take. Sizes are in bytes: 65536, 64KiB or 1MiB."},
	{Key: "calls", Title: "Calls", Description: "Backend services that clients call; see `beeline call`."},
	{Key: "times", Title: "Times", Description: "How long things may take: 250ms, 5s or 2m."},
	{Key: "operation", Title: "Operation", Description: "Metrics, health and logs."},
}

type clusterFlags struct {
	Cluster string   `name:"cluster" default:"${cluster}" placeholder:"${default}" help:"Name of the cluster: a-z, 0-9 and -."`
	Node    string   `name:"node" placeholder:"NAME" help:"Name of this edge, its own in the cluster: a-z, 0-9 and -. Required. A second edge with it refuses to start."`
	Peers   []string `name:"peer-cluster" placeholder:"NAME" help:"Another cluster whose clients are to be reached from here; the NATS servers of both must be linked, those of several clusters as a star or a tree, not as a ring, which NATS refuses. Name it on the edges of both. Repeat it for more."`
}

type clientFlags struct {
	Listen     string   `name:"listen" default:"${listen}" placeholder:"${default}" help:"Address for clients, host:port. Port 0 picks a free one; without a host it is every address of this machine."`
	Advertise  string   `name:"advertise" placeholder:"URL" help:"ws:// or wss:// address that others may hand to clients, if it is not that of --listen (behind a balancer, say)."`
	Zone       string   `name:"zone" placeholder:"NAME" help:"Where this edge stands, such as a data centre: a-z, 0-9 and -. The registry prefers it for clients who are there."`
	Weight     int      `name:"weight" default:"${weight}" placeholder:"${default}" help:"Its share of clients when the registry places them: 1 to 100. One with 2 gets twice what one with 1 gets."`
	Origins    []string `name:"origin" placeholder:"URL" help:"Web page whose scripts may connect, such as https://app.example.org; repeat it for more; * allows all. Clients that are no browsers need none."`
	Sessions   string   `name:"sessions" default:"${sessions}" placeholder:"${default}" help:"How many connections a client may have: many (each gets every message) or single (the newer ends the older)."`
	TLSCert    string   `name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate; with --tls-key, clients connect by wss://."`
	TLSKey     string   `name:"tls-key" placeholder:"FILE" help:"PEM file with its key."`
	ProxyTrust []string `name:"proxy-trust" placeholder:"NET" help:"Balancer, as an address or 10.0.0.0/8, that puts a PROXY protocol header before each connection; from there it is demanded. Repeat it for more."`

	TCPListen    string `name:"tcp-listen" placeholder:"ADDR" help:"Address for clients over raw TCP, host:port: frames of the same protocol, each with its length before it. Not given: none."`
	TCPAdvertise string `name:"tcp-advertise" placeholder:"URL" help:"tcp:// or tls:// address where gateways, and clients that a registry sends straight here, reach that, if it is not that of --tcp-listen."`
}

type tokenFlags struct {
	TokenKeys      []string `name:"token-key" placeholder:"KEY" help:"Key that tokens may be signed with: [kid=]ALG:@FILE or HS256:base64:SECRET, where ALG is HS256, RS256, ES256 or EdDSA. Repeat it to have two during a change. Others on the machine can read a command line: prefer @FILE."`
	TokenIssuer    string   `name:"token-issuer" placeholder:"NAME" help:"What a token's iss must be. Not given: anything."`
	TokenAudience  string   `name:"token-audience" placeholder:"NAME" help:"What must be in a token's aud. Not given: anything."`
	AllowSend      []string `name:"allow-send" placeholder:"PATTERN" help:"To whom clients may send whose token does not say it, or who have none: names, in which * stands for anything. Not given: to nobody. Repeat it for more."`
	AllowGroups    []string `name:"allow-groups" placeholder:"PATTERN" help:"Which groups clients may join and publish to whose token does not say it, or who have none; as --allow-send. Not given: none."`
	AllowCall      []string `name:"allow-call" placeholder:"PATTERN" help:"Which services clients may call whose token does not say it, or who have none; as --allow-send. Not given: none."`
	HookURL        string   `name:"hook-url" placeholder:"URL" help:"http:// or https:// address that is asked (POST) whether a client may join a group or watch another when its token does not say so. Not given: then it may not."`
	HookSecret     string   `name:"hook-secret" placeholder:"SECRET" help:"Signs what is asked there; better in BEELINE_HOOK_SECRET or in a file."`
	HookSecretFile string   `name:"hook-secret-file" placeholder:"FILE" help:"File with that secret."`
	AllowWatch     []string `name:"allow-watch" placeholder:"PATTERN" help:"Whose presence clients may watch whose token does not say it, or who have none; as --allow-send. Not given: nobody's."`
	Anonymous      bool     `name:"anonymous" help:"Let clients name themselves without a token. For development only: anybody can be anybody."`
}

type backendFlags struct {
	Listen       string   `name:"api-listen" placeholder:"ADDR" help:"Address where backends send, ask and disconnect over HTTP, host:port. Not given: none. Keep it on loopback or in a private network."`
	TLSCert      string   `name:"api-tls-cert" placeholder:"FILE" help:"PEM file with the certificate for that; with --api-tls-key, backends use https://."`
	TLSKey       string   `name:"api-tls-key" placeholder:"FILE" help:"PEM file with its key."`
	NATS         bool     `name:"api-nats" help:"Answer backends over NATS, too, at <cluster>.api.<operation>: all edges of the cluster that do so share what comes."`
	Keys         string   `name:"api-keys" placeholder:"FILE" help:"YAML file with the keys that backends have; beeline apikey makes its lines. It is read at the start."`
	EventsURL    string   `name:"events-url" placeholder:"URL" help:"http:// or https:// address that is told (POST) of clients who come and go, and of messages that nobody was there for. Best effort: it is tried again for a minute or more, and what is too much is dropped. Not given: none."`
	EventsSecret string   `name:"events-secret" placeholder:"SECRET" help:"Signs what is told there; better in BEELINE_EVENTS_SECRET or in a file."`
	SecretFile   string   `name:"events-secret-file" placeholder:"FILE" help:"File with that secret."`
	Events       []string `name:"events" default:"${events}" placeholder:"${default}" help:"Of what it is told."`
}

type natsFlags struct {
	URLs  []string `name:"nats-url" default:"${nats_url}" placeholder:"${default}" help:"nats:// or tls:// address of a server; repeat it for the others of its cluster."`
	Name  string   `name:"nats-name" placeholder:"NAME" help:"What the server lists this connection as. Not given: beeline and the node."`
	Creds string   `name:"nats-creds" placeholder:"FILE" help:"NATS credentials file."`
	TLS   tlsFlags `embed:"" prefix:"nats-"`
}

type limitFlags struct {
	MaxFrame     size    `name:"max-frame" default:"${max_frame}" placeholder:"${default}" help:"Largest frame from a client; it is cut off with close code 1009 over it."`
	MaxSessions  int     `name:"max-sessions" default:"${max_sessions}" placeholder:"${default}" help:"Connections at a time; more get HTTP status 503."`
	MaxPerClient int     `name:"max-per-client" default:"${max_per_client}" placeholder:"${default}" help:"Connections of one client at a time; one more is cut off with close code 4429."`
	MaxAnonymous int     `name:"max-anonymous" default:"${max_anonymous}" placeholder:"${default}" help:"How many of them may not have logged in yet."`
	QueueBytes   size    `name:"queue-bytes" default:"${queue_bytes}" placeholder:"${default}" help:"What may wait for one client to read it; over it the client is cut off with close code 4408, and may come back."`
	WaitingBytes size    `name:"waiting-bytes" default:"${waiting_bytes}" placeholder:"${default}" help:"What may wait for Redis on the whole edge; over it messages are answered with unavailable."`
	Routes       int     `name:"routes" default:"${routes}" placeholder:"${default}" help:"Clients and groups of which the edge remembers where they are, to ask Redis less often; at least 16."`
	MaxGroups    int     `name:"max-groups" default:"${max_groups}" placeholder:"${default}" help:"Groups that one connection may be in; to join one more is forbidden."`
	MaxWatches   int     `name:"max-watches" default:"${max_watches}" placeholder:"${default}" help:"Clients whose presence one connection may watch; to watch more is forbidden."`
	InFlight     int     `name:"in-flight" default:"${in_flight}" placeholder:"${default}" help:"Messages of one client that may wait for their answer; over it they are answered with rate_limited."`
	MessageRate  float64 `name:"message-rate" default:"${message_rate}" placeholder:"${default}" help:"Requests per second of one client; 0 is no limit."`
	MessageBurst int     `name:"message-burst" default:"${message_burst}" placeholder:"${default}" help:"Requests that a client may make at once after it was quiet."`
	ByteRate     size    `name:"byte-rate" default:"${byte_rate}" placeholder:"${default}" help:"Bytes per second of one client; 0 is no limit."`
	ByteBurst    size    `name:"byte-burst" default:"${byte_burst}" placeholder:"${default}" help:"Bytes that a client may send at once after it was quiet."`
	RateStrikes  int     `name:"rate-strikes" default:"${rate_strikes}" placeholder:"${default}" help:"Requests refused, less those allowed, after which the client is cut off with close code 4429."`
}

type timeFlags struct {
	AuthTimeout  time.Duration `name:"auth-timeout" default:"${auth_timeout}" placeholder:"${default}" help:"From the connection to a valid login."`
	Heartbeat    time.Duration `name:"heartbeat" default:"${heartbeat}" placeholder:"${default}" help:"Between pings to a client; one that does not answer within a fifth more is cut off. Keep it below the idle time of what lies between."`
	AckTimeout   time.Duration `name:"ack-timeout" default:"${ack_timeout}" placeholder:"${default}" help:"For the answer of another edge; after it a message ends as unknown."`
	Linger       time.Duration `name:"linger" default:"${linger}" placeholder:"${default}" help:"How long a client must be gone before those who watch it are told; one that is back sooner is no news."`
	WriteTime    time.Duration `name:"write-time" default:"${write_time}" placeholder:"${default}" help:"For one write to a client; after it the connection is cut."`
	LeaseTTL     time.Duration `name:"lease-ttl" default:"${lease_ttl}" placeholder:"${default}" help:"How long the others take this edge for alive after its last sign of life: what a crash costs."`
	LeaseRenewal time.Duration `name:"lease-renewal" default:"${lease_renewal}" placeholder:"${default}" help:"Between signs of life. At least three should fit into --lease-ttl."`
	DrainTime    time.Duration `name:"drain-time" default:"${drain_time}" placeholder:"${default}" help:"Over how long clients are told to move when this edge is stopped, so that they do not all come at once elsewhere."`
	StopTime     time.Duration `name:"stop-time" default:"${stop_time}" placeholder:"${default}" help:"How long a stop then waits for what is under way."`
}

type operationFlags struct {
	Config   string   `name:"config" placeholder:"FILE" help:"YAML or JSON file with lines name: value; the names are those of these flags."`
	Admin    string   `name:"admin" default:"${admin}" placeholder:"${default}" help:"Address for /metrics, /healthz and /readyz, host:port; none turns it off. It asks for no password: keep it on loopback or in a private network."`
	Profiles bool     `name:"profiles" help:"Serve /debug/pprof there too."`
	Log      logFlags `embed:""`
}

// edgeDefaults returns the defaults of the flags, which are those of the packages that they configure.
func edgeDefaults() kong.Vars {
	d := node.DefaultConfig()
	e := d.Edge
	return kong.Vars{
		"cluster":        string(d.Cluster),
		"listen":         d.Listen,
		"admin":          d.Admin,
		"nats_url":       strings.Join(d.NATS.URLs, ","),
		"redis_addr":     strings.Join(d.Redis.Addrs, ","),
		"redis_timeout":  presence.DefaultTimeout.String(),
		"weight":         strconv.Itoa(d.Weight),
		"events":         strings.Join(d.Events, ","),
		"sessions":       string(e.Sessions),
		"max_frame":      size(e.MaxFrame).String(),
		"max_sessions":   strconv.Itoa(e.MaxSessions),
		"max_per_client": strconv.Itoa(e.MaxPerClient),
		"max_anonymous":  strconv.Itoa(e.MaxAnonymous),
		"queue_bytes":    size(e.QueueBytes).String(),
		"waiting_bytes":  size(e.WaitingBytes).String(),
		"routes":         strconv.Itoa(e.Routes),
		"max_groups":     strconv.Itoa(e.Groups),
		"max_watches":    strconv.Itoa(e.Watches),
		"in_flight":      strconv.Itoa(e.InFlight),
		"message_rate":   strconv.FormatFloat(e.MessageRate, 'f', -1, 64),
		"message_burst":  strconv.Itoa(e.MessageBurst),
		"byte_rate":      size(e.ByteRate).String(),
		"byte_burst":     size(e.ByteBurst).String(),
		"rate_strikes":   strconv.Itoa(e.RateStrikes),
		"auth_timeout":   e.AuthTimeout.String(),
		"heartbeat":      e.Heartbeat.String(),
		"ack_timeout":    e.AckTimeout.String(),
		"linger":         e.Linger.String(),
		"write_time":     e.WriteTime.String(),
		"lease_ttl":      contracts.LeaseTTL.String(),
		"lease_renewal":  contracts.LeaseRenewal.String(),
		"drain_time":     d.DrainTime.String(),
		"stop_time":      d.StopTime.String(),
	}
}
