package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// envPrefix starts the name of every environment variable.
const envPrefix = "BEELINE_"

// maxConfigFile bounds a configuration file, in bytes.
const maxConfigFile = 1 << 20

// nullTag marks a value that is not there.
const nullTag = "!!null"

// settings answers for the flags that were not given: from the environment, or else from the configuration file, or else
// not at all, which leaves the default. kong by itself would let the file win over the environment.
type settings struct {
	getenv      func(string) string
	environment map[*kong.Flag]string // the variable of each flag that has one
	file        map[string]any        // flag name -> string, or []any of strings
}

// takeEnvironment gives every flag of a configurable command its variable, and keeps kong from reading the environment
// of the process.
func (s *settings) takeEnvironment(k *kong.Kong) error {
	for _, command := range k.Model.Leaves(false) {
		_, all := reflect.TypeAssert[configurable](command.Target.Addr())
		for _, flag := range command.Flags {
			switch {
			case len(flag.Envs) > 0:
				s.environment[flag] = flag.Envs[0]
				flag.Help += " (" + flag.Envs[0] + ")"
			case all:
				s.environment[flag] = envName(flag.Name)
			}
			flag.Envs, flag.Tag.Envs = nil, nil
		}
	}
	return nil
}

// configurable marks a command all of whose flags have a variable of the same name, and may stand in a file.
type configurable interface{ configFlag() string }

// envName returns a flag's environment variable.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Validate has nothing to say; [settings.load] has checked the file.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve returns a flag's value, or nil. An empty variable is one that is not set.
func (s *settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if name := s.environment[flag]; name != "" {
		if v := s.getenv(name); v != "" {
			return v, nil
		}
	}
	if v, ok := s.file[flag.Name]; ok {
		return v, nil
	}
	return nil, nil
}

var _ kong.Resolver = (*settings)(nil)

// load reads the configuration file that the flag config names, if it or its variable is given.
func (s *settings) load(ctx *kong.Context) error {
	var names []string
	var path string
	for _, level := range ctx.Selected().AllFlags(true) {
		for _, flag := range level {
			switch flag.Name {
			case "help", "version":
			case "config":
				path, _ = ctx.FlagValue(flag).(string)
				if path == "" {
					path = s.getenv(s.environment[flag])
				}
			default:
				names = append(names, flag.Name)
			}
		}
	}
	if path == "" {
		return nil
	}
	values, err := readConfig(path, names)
	if err != nil {
		return &usageError{err}
	}
	s.file = values
	return nil
}

// readConfig reads a file of `name: value` lines. Only names may stand in it.
func readConfig(path string, names []string) (map[string]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the configuration: %w", err)
	case len(b) > maxConfigFile:
		return nil, fmt.Errorf("read the configuration %s: it is larger than %d bytes", path, maxConfigFile)
	}
	values, err := parseConfig(b, names)
	if err != nil {
		return nil, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	return values, nil
}

// parseConfig returns the values of a file. They stay the text that they were written as: a flag makes of them what it
// would make of the same text on the command line, so that a password of digits keeps its zeros.
func parseConfig(b []byte, names []string) (map[string]any, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(b, &document); err != nil {
		return nil, fmt.Errorf("it is not YAML: %w", err)
	}
	values := map[string]any{}
	if document.IsZero() || len(document.Content) == 0 {
		return values, nil // empty, or only comments
	}
	top := document.Content[0]
	if top.Tag == nullTag {
		return values, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("it must consist of lines `name: value`, with the names of the flags")
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		if !slices.Contains(names, key.Value) {
			return nil, fmt.Errorf("line %d: there is no setting %q%s", key.Line, key.Value, didYouMean(key.Value, names))
		}
		if _, twice := values[key.Value]; twice {
			return nil, fmt.Errorf("line %d: %s stands there twice", key.Line, key.Value)
		}
		read := configValue
		if key.Value == "services" && value.Kind == yaml.MappingNode {
			read = servicesValue
		}
		v, err := read(value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s %w", key.Line, key.Value, err)
		}
		values[key.Value] = v
	}
	return values, nil
}

// configValue returns a value's text, or the texts of a list.
func configValue(n *yaml.Node) (any, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == nullTag:
		return nil, errors.New("has no value (leave the line out, or write \"\")")
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind != yaml.SequenceNode:
		return nil, errors.New("must be a value or a list of values")
	}
	list := make([]any, 0, len(n.Content))
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == nullTag {
			return nil, errors.New("must be a list of plain values")
		}
		list = append(list, item.Value)
	}
	return list, nil
}
