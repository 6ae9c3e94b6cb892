package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/token"
)

// tokenCmd makes tokens, and the keys that they are made with.
type tokenCmd struct {
	Key      string        `name:"key" env:"BEELINE_TOKEN_KEY" placeholder:"KEY" help:"Key to sign with, as for beeline edge: [kid=]ALG:@FILE or HS256:base64:SECRET."`
	Client   string        `name:"client" placeholder:"ID" help:"Who the token is for."`
	TTL      time.Duration `name:"ttl" default:"1h" placeholder:"${default}" help:"How long it is good: 30m, 24h. Connections made with it end then, too."`
	Send     allowed       `name:"send" placeholder:"PATTERN" help:"Clients that it may send to, such as bob or team-*. Repeat it for more; an empty one is nobody. Not given: the server's default. The next three are alike."`
	Groups   allowed       `name:"groups" placeholder:"PATTERN" help:"Groups that it may join and publish to."`
	Watch    allowed       `name:"watch" placeholder:"PATTERN" help:"Clients whose presence it may watch."`
	Call     allowed       `name:"call" placeholder:"PATTERN" help:"Services that it may call."`
	Admin    bool          `name:"admin" hidden:"" help:"It opens the console."`
	Issuer   string        `name:"issuer" placeholder:"NAME" help:"Its iss, if the server asks for one."`
	Audience string        `name:"audience" placeholder:"NAME" help:"Its aud, if the server asks for one."`

	NewKey string `name:"new-key" group:"Instead of a token, make a key:" placeholder:"ALG" help:"HS256 (a secret that both sides share), or EdDSA, ES256 or RS256 (a private key to make tokens, and a public one for the servers)."`
	Out    string `name:"out" group:"Instead of a token, make a key:" placeholder:"FILE" help:"Where to write it, for its owner alone; a public key goes to FILE.pub. Not given: standard output."`
}

// Run makes what is asked for.
func (c *tokenCmd) Run(p *process) error {
	if c.NewKey != "" {
		return c.makeKey(p)
	}
	claims, err := c.claims(p.now())
	if err != nil {
		return err
	}
	keys, err := token.ParseKeys([]string{c.Key})
	if err != nil {
		return usagef("--key: %w", err)
	}
	signed, err := token.Issue(keys[0], claims, p.now())
	if err != nil {
		return fmt.Errorf("make a token for %s: %w", c.Client, err)
	}
	fmt.Fprintln(p.stdout, signed)
	return nil
}

// claims makes of the flags what the token says.
func (c *tokenCmd) claims(now time.Time) (token.Claims, error) {
	switch {
	case c.Key == "" || c.Client == "":
		return token.Claims{}, usagef("a token needs --key (or BEELINE_TOKEN_KEY) and --client; --new-key EdDSA makes a key (see beeline token --help)")
	case c.Out != "":
		return token.Claims{}, usagef("--out goes with --new-key: a token is printed")
	case c.TTL < time.Second:
		return token.Claims{}, usagef("--ttl must be at least 1s")
	}
	if _, err := contracts.ParseClientID(c.Client); err != nil {
		return token.Claims{}, badName("client", err)
	}
	claims := token.Claims{
		Client: c.Client, Expires: now.Add(c.TTL), Admin: c.Admin, Issuer: c.Issuer, Audience: c.Audience,
	}
	for _, rule := range []struct {
		flag string
		from allowed
		to   *token.Patterns
	}{{"send", c.Send, &claims.Send}, {"groups", c.Groups, &claims.Groups}, {"watch", c.Watch, &claims.Watch}, {"call", c.Call, &claims.Call}} {
		if !rule.from.given {
			continue
		}
		patterns, err := token.NewPatterns(rule.from.list...)
		if err != nil {
			return token.Claims{}, usagef("--%s: %w", rule.flag, err)
		}
		*rule.to = patterns
	}
	return claims, nil
}

// makeKey makes a key, and says how to use it.
func (c *tokenCmd) makeKey(p *process) error {
	alg := c.NewKey
	for _, known := range []string{token.HS256, token.RS256, token.ES256, token.EdDSA} {
		if strings.EqualFold(alg, known) {
			alg = known
		}
	}
	private, public, err := token.GenerateKey(alg)
	if err != nil {
		return usagef("--new-key: %w", err)
	}
	if c.Out == "" {
		if _, err := p.stdout.Write(append(private, public...)); err != nil {
			return fmt.Errorf("print the key: %w", err)
		}
		fmt.Fprintf(p.stderr, "A new %s key. With --out FILE it would be in a file, and how to use it said here.\n", alg)
		return nil
	}
	if err := writeKeyFiles(c.Out, private, public); err != nil {
		return err
	}
	forServers := c.Out
	fmt.Fprintf(p.stdout, "wrote %s: it makes tokens, keep it to yourself\n", c.Out)
	if public != nil {
		forServers += ".pub"
		fmt.Fprintf(p.stdout, "wrote %s: it verifies tokens, give it to the servers\n", forServers)
	}
	fmt.Fprintf(p.stdout, "\nbeeline edge --token-key %s:@%s …\nbeeline token --key %s:@%s --client bob\n", alg, forServers, alg, c.Out)
	if alg == token.HS256 {
		fmt.Fprintf(p.stdout, "\nOr, as the key of tickets:\nbeeline registry --ticket-key @%[1]s …\nbeeline gateway --ticket-key @%[1]s …\n", c.Out)
	}
	return nil
}

// writeKeyFiles writes a key, and its public half if it has one, to new files.
func writeKeyFiles(path string, private, public []byte) error {
	if err := writeNewFile(path, private, 0o600); err != nil {
		return err
	}
	if public == nil {
		return nil
	}
	if err := writeNewFile(path+".pub", public, 0o644); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// writeNewFile never overwrites: a key that is gone cannot be made again.
func writeNewFile(path string, contents []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists: a key is not overwritten, choose another --out", path)
	}
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	_, err = f.Write(contents)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the key: %w", err), os.Remove(path))
	}
	return nil
}

// allowed is a list of patterns that knows whether it was given: an empty list allows nothing, none leaves it to the server.
type allowed struct {
	list  []string
	given bool
}

// Decode reads one value of the flag, which may have commas.
func (a *allowed) Decode(ctx *kong.DecodeContext) error {
	var value string
	if err := ctx.Scan.PopValueInto("pattern", &value); err != nil {
		return err
	}
	a.given = true
	for pattern := range strings.SplitSeq(value, ",") {
		if pattern != "" {
			a.list = append(a.list, pattern)
		}
	}
	return nil
}

var _ kong.MapperValue = (*allowed)(nil)
