package gateway

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/beeline-rt/beeline/contracts"
)

func counted(c prometheus.Counter) int {
	var m dto.Metric
	_ = c.Write(&m)
	return int(m.GetCounter().GetValue())
}

// foundOut is how long it takes at most until an instance that hangs is found, and its clients are cut off.
func foundOut(c Config) time.Duration { return (suspicious+1)*c.Probe + cutSpread + 2*drainStep }

func asShipped(*Config)      {}
func withoutProbe(c *Config) { c.Probe = 0 }

// next connects one more client; in a bubble, what needs no waiting takes no time.
func (w *ward) next() (at contracts.NodeID, took time.Duration) {
	w.t.Helper()
	start := time.Now()
	return w.enter(false).node, time.Since(start)
}

func TestClientsOfAnInstanceThatHangsAreCutOffToComeBackElsewhere(t *testing.T) {
	t.Parallel()
	inWard(t, 3, asShipped, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		<-time.After(time.Minute) // nobody says anything
		if n := lost(all); n != 0 || counted(w.g.metrics.probeFailures) != 0 {
			t.Fatalf("it is well, and %d clients are cut off", n)
		}
		at.becomes(hung)
		<-time.After(foundOut(w.g.cfg))
		if n := lost(all); n != len(all) {
			t.Errorf("%d of %d are cut off", n, len(all))
		}
		if n, took := w.next(); n == at.node || took != 0 {
			t.Errorf("the next is on %s after %v", n, took)
		}
		asked := at.asked.Load()
		<-time.After(time.Minute)
		if n := at.asked.Load() - asked; n > 30 {
			t.Errorf("it was asked %d times more within a minute", n)
		}
		if a, b, c := counted(w.g.metrics.instancesCut), counted(w.g.metrics.clientsCut), counted(w.g.metrics.cutsHeld); a != 1 || b != len(all) || c != 0 {
			t.Errorf("counted %d, %d, %d", a, b, c)
		}
		at.becomes(well)
		<-time.After(2 * w.g.cfg.Probe)
		if n, took := w.next(); n != at.node || took != 0 {
			t.Errorf("it answers again, and the next is on %s after %v", n, took)
		}
	})
	inWard(t, 3, withoutProbe, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		at.becomes(hung)
		<-time.After(time.Minute)
		if n := lost(all); n != 0 || at.asked.Load() != 0 {
			t.Errorf("without asking, %d clients are cut off", n)
		}
	})
}

func TestInstanceThatIsSlowOrBusyKeepsItsClients(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mood   mood
		passed bool
	}{
		"busy": {busy, true}, "slow": {slow, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWard(t, 3, asShipped, func(w *ward) {
				t := w.t
				all, at := w.crowd()
				at.becomes(test.mood)
				<-time.After(foundOut(w.g.cfg))
				if n, _ := w.next(); (n != at.node) != test.passed {
					t.Errorf("the next is on %s", n)
				}
				<-time.After(time.Minute)
				if n := lost(all); n != 0 {
					t.Errorf("%d are cut off", n)
				}
				if counted(w.g.metrics.probeFailures) == 0 {
					t.Error("it has answered in time: the test shows nothing")
				}
			})
		})
	}
}

func TestNobodyIsCutOffWhenMostInstancesAreSilent(t *testing.T) {
	t.Parallel()
	inWard(t, 4, asShipped, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		var others []*subject
		for _, s := range w.all {
			if s != at {
				others = append(others, s)
			}
		}
		for _, s := range []*subject{at, others[0], others[1]} {
			s.becomes(hung)
		}
		<-time.After(time.Minute)
		if n := lost(all); n != 0 || counted(w.g.metrics.cutsHeld) != 1 || counted(w.g.metrics.instancesCut) != 0 {
			t.Errorf("%d are cut off; held %d times", n, counted(w.g.metrics.cutsHeld))
		}
		others[0].becomes(well) // now it is half of them
		<-time.After(foundOut(w.g.cfg))
		if n := lost(all); n != len(all) {
			t.Errorf("%d of %d are cut off", n, len(all))
		}
	})
}

func TestGatewayThatStandsStillItselfCutsNobodyOff(t *testing.T) {
	t.Parallel()
	inWard(t, 3, asShipped, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		w.still.Store(int64(2 * w.g.cfg.Probe))
		<-time.After(time.Second)
		at.becomes(hung)
		<-time.After(time.Minute)
		if n := lost(all); n != 0 {
			t.Errorf("%d are cut off", n)
		}
		w.still.Store(0)
		<-time.After(2*w.g.cfg.Probe + foundOut(w.g.cfg))
		if n := lost(all); n != len(all) {
			t.Errorf("it goes on, and %d of %d are cut off", n, len(all))
		}
	})
}

func TestInstanceThatSaysItIsNotReadyIsPassedOverAtOnce(t *testing.T) {
	t.Parallel()
	inWard(t, 3, asShipped, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		at.becomes(unready) // which it has not reported yet
		<-time.After(w.g.cfg.Probe + time.Millisecond)
		if n, took := w.next(); n == at.node || took != 0 {
			t.Errorf("the next is on %s after %v", n, took)
		}
		<-time.After(time.Minute)
		if n := lost(all); n != 0 {
			t.Errorf("%d are cut off", n)
		}
		for _, s := range w.all {
			s.becomes(unready)
		}
		<-time.After(2 * w.g.cfg.Probe)
		if n, _ := w.next(); n != at.node {
			t.Errorf("none is ready, and the next is on %s", n)
		}
	})
	inWard(t, 3, withoutProbe, func(w *ward) {
		t := w.t
		_, at := w.crowd()
		at.becomes(unready)
		<-time.After(time.Second)
		if n, _ := w.next(); n != at.node {
			t.Errorf("without asking, the next is on %s", n)
		}
	})
}

// So it is with one that stops and has clients yet.
func TestInstanceThatRefusesConnectionsKeepsItsClients(t *testing.T) {
	t.Parallel()
	inWard(t, 3, asShipped, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		w.g.probes.http.CloseIdleConnections()
		w.net.m[string(at.node)+":1"].close()
		<-time.After(time.Minute)
		if n := lost(all); n != 0 || counted(w.g.metrics.probeFailures) == 0 {
			t.Errorf("%d are cut off", n)
		}
		if n, took := w.next(); n == at.node || took != 0 {
			t.Errorf("the next is on %s after %v", n, took)
		}
	})
}

func TestInstanceThatDemandsToKnowTheClientIsAsked(t *testing.T) {
	t.Parallel()
	inWard(t, 1, func(c *Config) { c.Proxy = true }, func(w *ward) {
		t := w.t
		w.all["a0"].becomes(unready)
		<-time.After(2 * w.g.cfg.Probe)
		if i := w.fleet.Instances()[0]; !w.g.probes.unfit(i.Peer) || w.g.probes.of(i.Peer).broken.Load() != nil {
			t.Errorf("it was asked %d times, and is not known not to be ready", w.all["a0"].asked.Load())
		}
	})
}

func TestOnlyAddressesThatAGatewayCanUseAreAsked(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"ws://10.0.0.1:8080/v1/ws": "http://10.0.0.1:8080/readyz",
		"ws://edge":                "http://edge/readyz",
		"ws://[::1]:1/x":           "http://[::1]:1/readyz",
		"wss://edge/v1/ws":         "https://edge/readyz",
		"https://edge/v1/ws":       "",
		"tls://edge:9000":          "",
		"":                         "",
		"ws:///v1/ws":              "",
		"%":                        "",
	} {
		if got := readyz(address); got != want {
			t.Errorf("%q is asked at %q, not %q", address, got, want)
		}
	}
}

// known is of how many instances anything is: the loop may be at work on them in this very moment.
func (w *ward) known() int {
	p := &w.g.probes
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.m)
}

// One that hangs loses its lease, and that may be before it is found.
func TestWhatIsKnownOfAnInstanceGoesWithItsLastClient(t *testing.T) {
	t.Parallel()
	inWard(t, 3, asShipped, func(w *ward) {
		t := w.t
		all, at := w.crowd()
		w.fleet.mu.Lock()
		w.fleet.all = slices.DeleteFunc(w.fleet.all, func(i contracts.Instance) bool { return i.Node == at.node })
		w.fleet.mu.Unlock()
		<-time.After(time.Minute)
		if n, known := lost(all), w.known(); n != 0 || known != 3 {
			t.Errorf("%d are cut off, %d instances are known", n, known)
		}
		at.becomes(hung)
		<-time.After(foundOut(w.g.cfg))
		if n := lost(all); n != len(all) {
			t.Errorf("%d of %d are cut off", n, len(all))
		}
		<-time.After(w.g.cfg.Probe)
		if n := w.known(); n != 2 {
			t.Errorf("%d instances are known", n)
		}
	})
}

// It is read from a socket in a way of its own, see outlet.copy.
func TestWhatAnInstanceSaysOverASocketIsASignOfLife(t *testing.T) {
	t.Parallel()
	f := &fleetFake{}
	f.echo(t, "a1")
	g, address, _ := serve(t, patient(), f)
	c := connect(t, address, secrets.Sign(ticket("a", "room")))
	x := g.probes.of(f.Instances()[0].Peer)
	for range 3 {
		x.heard.Store(false)
		if _, err := io.WriteString(c, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := c.from.ReadString('\n'); err != nil || !x.heard.Load() {
			t.Fatalf("%q, %v: it was not heard", line, err)
		}
	}
}
