package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/calls"
)

// callFlags say how backend services are called.
type callFlags struct {
	Services  servicesText  `name:"services" placeholder:"YAML" help:"How single services are called, by name, such as '{orders: {key: data.cart, timeout: 2s}, legacy: {http: [http://10.0.0.1:8080/rpc], health: /healthz}}'; easier in the file. Each may have policy, key, key_idle, timeout, in_flight, http and health. One that is not named needs nothing but instances that report."`
	Policy    string        `name:"call-policy" default:"${call_policy}" placeholder:"${default}" help:"Which instance gets a call whose key has none yet, or that has no key: least-inflight, round-robin, weighted or hash."`
	Timeout   time.Duration `name:"call-timeout" default:"${call_timeout}" placeholder:"${default}" help:"For the answer to a call that does not say."`
	KeyIdle   time.Duration `name:"call-key-idle" default:"${call_key_idle}" placeholder:"${default}" help:"How long a key stays with its instance without a call."`
	InFlight  int           `name:"service-in-flight" default:"${service_in_flight}" placeholder:"${default}" help:"Calls to one service that this edge has under way at a time; over it they are answered with unavailable."`
	Calls     int           `name:"max-calls" default:"${max_calls}" placeholder:"${default}" help:"Calls of one connection that may wait for their answer; over it they are answered with rate_limited."`
	Keys      int           `name:"call-keys" default:"${call_keys}" placeholder:"${default}" help:"Keys of which the edge remembers which instance has them, to ask Redis less often; at least 16."`
	MaxAnswer size          `name:"max-answer" default:"${max_answer}" placeholder:"${default}" help:"Largest answer of a service; a larger one is an error."`
}

// servicesText is the YAML or JSON that describes services.
type servicesText string

// services reads the text.
func (t servicesText) services() (map[contracts.ServiceName]calls.Service, error) {
	if t == "" {
		return nil, nil
	}
	var v any
	if err := yaml.Unmarshal([]byte(t), &v); err != nil {
		return nil, usagef("--services: it is not YAML: %w", err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, usagef("--services: %w", err)
	}
	all, err := calls.ParseServices(text)
	if err != nil {
		return nil, usagef("--services: %w", err)
	}
	return all, nil
}

// config makes of the flags how services are called.
func (f callFlags) config() (calls.Config, error) {
	services, err := f.Services.services()
	if err != nil {
		return calls.Config{}, err
	}
	return calls.Config{
		Services: services,
		Default:  calls.Service{Policy: calls.Policy(f.Policy), Timeout: f.Timeout, KeyIdle: f.KeyIdle, InFlight: f.InFlight},
		Keys:     f.Keys, MaxAnswer: int(f.MaxAnswer),
	}, nil
}

// servicesValue returns the text of services in a configuration file, where they may stand as they would in a file of their own.
func servicesValue(n *yaml.Node) (any, error) {
	text, err := yaml.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return string(text), nil
}

// callDefaults returns the defaults of the flags.
func callDefaults(maxCalls int) kong.Vars {
	d := calls.DefaultConfig()
	return kong.Vars{
		"call_policy":       string(d.Default.Policy),
		"call_timeout":      d.Default.Timeout.String(),
		"call_key_idle":     d.Default.KeyIdle.String(),
		"service_in_flight": strconv.Itoa(d.Default.InFlight),
		"max_calls":         strconv.Itoa(maxCalls),
		"call_keys":         strconv.Itoa(d.Keys),
		"max_answer":        size(d.MaxAnswer).String(),
	}
}
