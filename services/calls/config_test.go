package calls

import (
	"errors"
	"testing"
)

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`[]`, `{"A":{}}`, `{"a":{"policy":"best"}}`, `{"a":{"key":"data."}}`, `{"a":{"key":"map(data, # + 1)"}}`, `{"a":{"key":"nothing"}}`, `{"a":{"key":"1..1000000000"}}`, `{"a":{"key":"toJSON(data)"}}`, `{"a":{"key":"let a = data + data; let b = a + a; b"}}`, `{"a":{"key":"data.a matches data.b ? client : nil"}}`, `{"a":{"timeout":"2"}}`,
		`{"a":{"timeout":"2h"}}`, `{"a":{"http":["10.0.0.1:80"]}}`, `{"a":{"http":["http://x/","http://x/"]}}`, `{"a":{"in_flight":-1}}`, `{"a":{"unknown":1}}`,
		`{"a":{"health":"healthz"}}`, `{"a":{"key_idle":"1ms"}}`,
	} {
		services, err := ParseServices([]byte(text))
		if err == nil {
			c := DefaultConfig()
			c.Services = services
			err = c.Validate()
		}
		if err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	c := DefaultConfig()
	var err error
	c.Services, err = ParseServices([]byte(`{"a":{"policy":"hash","key":"data.user ?? client","key_idle":"1m","timeout":"250ms","in_flight":7,"http":["https://x:1/rpc"],"health":"/h"},"b":null}`))
	if err = errors.Join(err, c.Validate()); err != nil {
		t.Error(err)
	}
	if _, err := newRule(`data.a matches "^x" ? data.a : nil`); err != nil {
		t.Errorf("a pattern that the operator wrote: %v", err)
	}
}
