package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/services/registryserver"
)

// registryGroups are the headings of `beeline registry --help`.
var registryGroups = []kong.Group{
	{Key: "callers", Title: "Callers", Description: "Where the registry is asked, and who may: clients with their token, backends with an API key. A key is random, and the registry is told its hash only: KEY=$(openssl rand -hex 32); printf %s \"$KEY\" | sha256sum."},
	{Key: "tickets", Title: "Tickets", Description: "What the registry signs, and gateways check. `beeline token --new-key HS256 --out ticket.key` makes a key."},
	{Key: "placement", Title: "Placement", Description: "Where clients are sent."},
	{Key: "fleet", Title: "Fleet", Description: "The registry learns from the Redis of each cluster which edges live, and what they report of themselves. It writes nothing there."},
}

type callerFlags struct {
	Listen         string   `name:"listen" default:"${registry_listen}" placeholder:"${default}" help:"Address for callers, host:port. Port 0 picks a free one; without a host it is every address of this machine."`
	TLSCert        string   `name:"tls-cert" placeholder:"FILE" help:"PEM file with the certificate; with --tls-key, callers use https://."`
	TLSKey         string   `name:"tls-key" placeholder:"FILE" help:"PEM file with its key."`
	Origins        []string `name:"origin" placeholder:"URL" help:"Web page whose scripts may ask, such as https://app.example.org; repeat it for more; * allows all. Callers that are no browsers need none."`
	TokenKeys      []string `name:"token-key" placeholder:"KEY" help:"Key that tokens may be signed with: [kid=]ALG:@FILE or HS256:base64:SECRET, as for beeline edge. Repeat it to have two during a change."`
	TokenIssuer    string   `name:"token-issuer" placeholder:"NAME" help:"What a token's iss must be. Not given: anything."`
	TokenAudience  string   `name:"token-audience" placeholder:"NAME" help:"What must be in a token's aud. Not given: anything."`
	APIKeys        []string `name:"api-key" placeholder:"SHA256" help:"SHA-256, in hexadecimal, of the API key of a backend that asks for any client. Repeat it for more."`
	AllowList      string   `name:"allow-list" placeholder:"FILE" help:"File with the clients that may connect, one a line. It is read again within 2s when it has changed. Not given: all."`
	HookURL        string   `name:"hook-url" placeholder:"URL" help:"http:// or https:// address that is asked (POST, op connect) whether a client may connect. Not given: nobody is asked."`
	HookSecret     string   `name:"hook-secret" placeholder:"SECRET" help:"Signs what is asked there; better in BEELINE_HOOK_SECRET or in a file."`
	HookSecretFile string   `name:"hook-secret-file" placeholder:"FILE" help:"File with that secret."`
	Anonymous      bool     `name:"anonymous" help:"Let anybody ask for any client. For development only."`
	ClientRate     float64  `name:"client-rate" default:"${client_rate}" placeholder:"${default}" help:"Requests per second for one client; 0 is no limit."`
	ClientBurst    int      `name:"client-burst" default:"${client_burst}" placeholder:"${default}" help:"Requests for one client at once after it was quiet."`
}

type ticketFlags struct {
	TicketKeys []string `name:"ticket-key" placeholder:"KEY" help:"Key that tickets are signed with: @FILE or base64:SECRET, of at least 32 bytes. Two during a change: the first signs, both count. Required."`
}

type placementFlags struct {
	Gateways []string      `name:"gateway" placeholder:"CLUSTER=URL" help:"ws:// or wss:// address of a gateway as clients see it, and the cluster where it stands: a=wss://a.example.org/v1/ws. tcp:// or tls://, a host and a port is where it takes clients in over raw TCP (its --tcp-listen), for those who ask for that: a=tls://a.example.org:9000. Repeat it for more."`
	Direct   bool          `name:"direct" help:"Instead of to gateways, send clients to the edges themselves, at the addresses that they advertise; those who ask for raw TCP to those that advertise it."`
	Policies []string      `name:"policy" default:"${policy}" placeholder:"${default}" help:"How an edge is chosen for requests without a key: least-connections, or hash (the same client, the same edge). CLASS=POLICY is for requests of that class. Repeat it for more."`
	Zone     string        `name:"default-zone" placeholder:"NAME" help:"Zone whose edges are preferred for requests that name none. Not given: no preference."`
	Backoff  backoffFlags  `embed:""`
	Hold     time.Duration `name:"hold" default:"${hold}" placeholder:"${default}" help:"How long the registry does not believe that more than half of a cluster's edges are gone at once, and how long it counts on a cluster whose Redis it cannot read."`
}

// backoffFlags are what clients are told.
type backoffFlags struct {
	First time.Duration `name:"backoff-first" default:"${backoff_first}" placeholder:"${default}" help:"Bound of the first wait of a client whose connection was refused or lost; it draws its wait evenly from zero to the bound."`
	Base  time.Duration `name:"backoff-base" default:"${backoff_base}" placeholder:"${default}" help:"Doubled with every failure in a row, it is the bound of the next ones."`
	Cap   time.Duration `name:"backoff-cap" default:"${backoff_cap}" placeholder:"${default}" help:"What the bounds do not exceed."`
}

type fleetFlags struct {
	Cluster string        `name:"cluster" default:"${cluster}" placeholder:"${default}" help:"Name of the cluster whose Redis is at --redis-addr: a-z, 0-9 and -."`
	Others  []string      `name:"cluster-redis" placeholder:"CLUSTER=ADDR" help:"Another cluster, and host:port of its Redis, which is reached as the first is, with the same user, password and TLS. Repeat it for more clusters, or for more addresses of one."`
	Poll    time.Duration `name:"poll" default:"${poll}" placeholder:"${default}" help:"How often the fleets are read."`
	Redis   redisFlags    `embed:""`
}

type registryOperationFlags struct {
	Config   string        `name:"config" placeholder:"FILE" help:"YAML or JSON file with lines name: value; the names are those of these flags."`
	Admin    string        `name:"admin" default:"${registry_admin}" placeholder:"${default}" help:"Address for /metrics, /healthz and /readyz, host:port; none turns it off. It asks for no password: keep it on loopback or in a private network."`
	StopTime time.Duration `name:"stop-time" default:"${registry_stop_time}" placeholder:"${default}" help:"How long a stop waits for what is under way."`
	Log      logFlags      `embed:""`
}

// registryDefaults returns the defaults of the flags, which are those of the packages that they configure.
func registryDefaults() kong.Vars {
	d := registryserver.DefaultConfig()
	r := d.Registry
	return kong.Vars{
		"registry_listen":    d.Listen,
		"registry_admin":     d.Admin,
		"registry_stop_time": d.StopTime.String(),
		"client_rate":        strconv.FormatFloat(r.Rate, 'f', -1, 64),
		"client_burst":       strconv.Itoa(r.Burst),
		"policy":             fmt.Sprint(r.Classes["default"]),
		"hold":               r.Hold.String(),
		"poll":               r.Poll.String(),
		"backoff_first":      (time.Duration(r.Backoff.FirstMS) * time.Millisecond).String(),
		"backoff_base":       (time.Duration(r.Backoff.BaseMS) * time.Millisecond).String(),
		"backoff_cap":        (time.Duration(r.Backoff.CapMS) * time.Millisecond).String(),
	}
}
