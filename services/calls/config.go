package calls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// Policy says which instance gets a call, or a key, that no instance has.
type Policy string

// The policies.
const (
	LeastInflight Policy = "least-inflight" // of two that chance picks, the one with less in flight for its capacity
	RoundRobin    Policy = "round-robin"    // one after the other
	Weighted      Policy = "weighted"       // by chance, each as often as its weight says
	Hash          Policy = "hash"           // by the key, or for want of one the client: every edge finds the same
)

// Config says how services are called. Start from [DefaultConfig].
type Config struct {
	Services map[contracts.ServiceName]Service // by name; any other that reports is called as Default says
	Default  Service                           // without HTTP

	Keys      int // message keys of which the node remembers where they belong; others it asks Redis for
	MaxAnswer int // largest answer of a backend, in bytes
}

// Service says how one service is called. What is zero is taken from Config.Default.
type Service struct {
	Policy   Policy
	Key      string        // expression that takes the key from a call without one: `data.cart`. Empty: such a call has none
	KeyIdle  time.Duration // after which an idle key belongs to no instance any more
	Timeout  time.Duration // of a call that does not say
	InFlight int           // calls that this node has under way at a time; more are unavailable at once
	HTTP     []string      // if set, the addresses that calls are posted to, in place of instances that report
	Health   string        // path at these addresses that is asked, with GET, whether they are well. Empty: they are not asked
}

// DefaultConfig returns the settings of a production node.
func DefaultConfig() Config {
	return Config{
		Default: Service{Policy: LeastInflight, KeyIdle: 10 * time.Minute, Timeout: 5 * time.Second, InFlight: 10_000},
		Keys:    200_000, MaxAnswer: 256 << 10,
	}
}

// of returns how a service is called, with nothing left out.
func (c *Config) of(name contracts.ServiceName) Service {
	s, d := c.Services[name], c.Default
	if s.Policy == "" {
		s.Policy = d.Policy
	}
	if s.KeyIdle == 0 {
		s.KeyIdle = d.KeyIdle
	}
	if s.Timeout == 0 {
		s.Timeout = d.Timeout
	}
	if s.InFlight == 0 {
		s.InFlight = d.InFlight
	}
	return s
}

// maxHTTP bounds the addresses of one service.
const maxHTTP = 256

// Validate tells in one sentence what is wrong.
func (c *Config) Validate() error {
	if c.Keys < bindingParts || c.MaxAnswer < 1024 || c.MaxAnswer > contracts.MaxMaxFrame {
		return fmt.Errorf("call-keys must be at least %d, max-answer from 1024 to %d bytes", bindingParts, contracts.MaxMaxFrame)
	}
	if err := c.Default.validate(); err != nil {
		return fmt.Errorf("calls: %w", err)
	}
	for name := range c.Services {
		if _, err := contracts.ParseServiceName(name); err != nil {
			return fmt.Errorf("services: the name of a service: %w", err)
		}
		s := c.of(name)
		if err := s.validate(); err != nil {
			return fmt.Errorf("services: %s: %w", name, err)
		}
	}
	return nil
}

func (s *Service) validate() error {
	switch {
	case !slices.Contains([]Policy{LeastInflight, RoundRobin, Weighted, Hash}, s.Policy):
		return fmt.Errorf("policy must be %s, %s, %s or %s", LeastInflight, RoundRobin, Weighted, Hash)
	case s.KeyIdle < time.Second:
		return errors.New("key_idle must be at least 1s")
	case s.Timeout < time.Millisecond || s.Timeout > contracts.MaxCallTimeout:
		return fmt.Errorf("timeout must be from 1ms to %v", contracts.MaxCallTimeout)
	case s.InFlight < 1:
		return errors.New("in_flight must be positive")
	case len(s.HTTP) > maxHTTP:
		return fmt.Errorf("http has %d addresses, at most %d are allowed", len(s.HTTP), maxHTTP)
	case s.Health != "" && s.Health[0] != '/':
		return errors.New("health must be a path such as /healthz")
	}
	for i, text := range s.HTTP {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return errors.New("http: an address must be a URL such as http://10.0.0.1:8080/rpc")
		}
		if slices.Contains(s.HTTP[:i], text) {
			return errors.New("http: an address is there twice")
		}
	}
	_, err := newRule(s.Key)
	return err
}

// serviceForm is a service as it is written in JSON.
type serviceForm struct {
	Policy   Policy   `json:"policy"`
	Key      string   `json:"key"`
	KeyIdle  string   `json:"key_idle"`
	Timeout  string   `json:"timeout"`
	InFlight int      `json:"in_flight"`
	HTTP     []string `json:"http"`
	Health   string   `json:"health"`
}

// ParseServices reads services as they stand in a configuration, as JSON: `{"orders":{"policy":"hash","timeout":"2s"}}`. Times are
// written as 250ms, 5s or 2m.
func ParseServices(text []byte) (map[contracts.ServiceName]Service, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var forms map[contracts.ServiceName]*serviceForm
	if err := d.Decode(&forms); err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	all := make(map[contracts.ServiceName]Service, len(forms))
	for name, f := range forms {
		if f == nil {
			f = &serviceForm{} // a name without settings
		}
		s := Service{Policy: f.Policy, Key: f.Key, InFlight: f.InFlight, HTTP: f.HTTP, Health: f.Health}
		for _, t := range []struct {
			text string
			to   *time.Duration
		}{{f.KeyIdle, &s.KeyIdle}, {f.Timeout, &s.Timeout}} {
			if t.text == "" {
				continue
			}
			var err error
			if *t.to, err = time.ParseDuration(t.text); err != nil {
				return nil, fmt.Errorf("services: %s: %w", name, err)
			}
		}
		all[name] = s
	}
	return all, nil
}
