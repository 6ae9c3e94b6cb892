package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/node"
)

// keyLine is an API key as it stands in a file of keys: a YAML list of these.
type keyLine struct {
	Name    string      `yaml:"name" json:"name"`
	SHA256  string      `yaml:"sha256" json:"sha256"`
	Scopes  []api.Scope `yaml:"scopes" json:"scopes"`
	From    []string    `yaml:"from" json:"from,omitempty"`
	Clients []string    `yaml:"clients" json:"clients,omitempty"`
	Groups  []string    `yaml:"groups" json:"groups,omitempty"`
	Rate    float64     `yaml:"rate" json:"rate,omitempty"`
	Burst   int         `yaml:"burst" json:"burst,omitempty"`
}

// readAPIKeys reads a file of keys.
func readAPIKeys(path string) ([]node.APIKey, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("--api-keys: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, usagef("--api-keys: %w", err)
	}
	if len(b) > maxConfigFile {
		return nil, usagef("--api-keys: %s is larger than %d bytes", path, maxConfigFile)
	}
	var lines []keyLine
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&lines); err != nil && !errors.Is(err, io.EOF) {
		return nil, usagef("--api-keys: %s is not a list of keys, as beeline apikey prints them: %w", path, err)
	}
	keys := make([]node.APIKey, len(lines))
	for i, l := range lines {
		keys[i] = node.APIKey(l)
	}
	return keys, nil
}

// apikeyCmd makes the key of a backend.
type apikeyCmd struct {
	Name    string   `name:"name" required:"" placeholder:"NAME" help:"What it is called in logs."`
	Scopes  []string `name:"scopes" required:"" placeholder:"SCOPE" help:"What it may be used for: send, publish, presence, members, disconnect, tokens (for its clients, whatever those tokens allow). Repeat it for more, as all lists here."`
	From    []string `name:"from" placeholder:"PATTERN" help:"Names that it may send and publish as, such as shop or shop-*."`
	Clients []string `name:"clients" placeholder:"PATTERN" help:"Clients that it may send to, ask for, disconnect and make tokens for; * is all."`
	Groups  []string `name:"groups" placeholder:"PATTERN" help:"Groups that it may publish to and ask for the members of; * is all."`
	Rate    float64  `name:"rate" placeholder:"N" help:"Operations per second, on each edge; a message to many counts once for each. Not given: 1000. Who needs more says so: no key is without a limit."`
	Burst   int      `name:"burst" placeholder:"N" help:"Operations that it may ask for at once after it was quiet. Not given: 1000."`
	Out     string   `name:"out" placeholder:"FILE" help:"File of keys to append the line to. Not given: it is printed after the key."`
}

// Help is the text between the usage and the flags.
func (*apikeyCmd) Help() string {
	return "Prints a new key, which the backend keeps, and a line for the file that beeline edge --api-keys names, which has only its hash."
}

// Run makes a key.
func (c *apikeyCmd) Run(p *process) error {
	key := apikey.New()
	line := keyLine{
		Name: c.Name, SHA256: apikey.Of(key).String(), From: c.From, Clients: c.Clients, Groups: c.Groups, Rate: c.Rate, Burst: c.Burst,
	}
	for _, s := range c.Scopes {
		line.Scopes = append(line.Scopes, api.Scope(s))
	}
	if err := node.APIKey(line).Validate(); err != nil {
		return usagef("%w", err)
	}
	if err := c.unknown(); err != nil {
		return err
	}
	text, err := json.Marshal(line) // JSON is YAML, and stands on one line
	if err != nil {
		return fmt.Errorf("make the line: %w", err)
	}
	if c.Out == "" {
		fmt.Fprintf(p.stdout, "%s\n- %s\n", key, text)
		return nil
	}
	f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(f, "- %s\n", text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write the line: %w", err)
	}
	fmt.Fprintln(p.stdout, key)
	return nil
}

// unknown refuses a name that the file has: with two an edge does not start.
func (c *apikeyCmd) unknown() error {
	if _, err := os.Stat(c.Out); c.Out == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	keys, err := readAPIKeys(c.Out)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Name == c.Name {
			return usagef("--name: %s has a key called %s already; a new one for the same backend needs a name of its own, such as %s-2", c.Out, c.Name, c.Name)
		}
	}
	return nil
}
