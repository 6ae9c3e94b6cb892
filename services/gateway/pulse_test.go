package gateway

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestWhyAnInstanceCouldNotBeAskedIsLogged(t *testing.T) {
	t.Parallel()
	for _, why := range []error{errors.New("tls: it is another's certificate"), nil} {
		var log bytes.Buffer
		p := pulse{asked: true}
		for range suspicious {
			if why != nil {
				p.broken.Store(&why)
			}
			p.look()
			p.judge(slog.New(slog.NewTextHandler(&log, nil)))
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "another's certificate") != (why != nil) {
			t.Errorf("%v: logged %q", why, text)
		}
	}
}
