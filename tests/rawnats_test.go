package tests

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tests/fleet"
)

// rawInstance is an instance of a service that speaks NATS with nothing but a socket, as one in any language may, and answers as
// it likes. It is also the example of contracts/README.md.
type rawInstance struct {
	conn net.Conn
	mu   sync.Mutex // guards what is written
}

// rawCall is what came for it.
type rawCall struct {
	reply string
	task  contracts.Task
}

// startRaw starts an instance; handle is called for one call after the other.
func startRaw(t *testing.T, nats string, service, id string, handle func(r *rawInstance, c rawCall)) *rawInstance {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(nats, "nats://")) //nolint:noctx // of a test
	if err != nil {
		t.Fatal(err)
	}
	r := &rawInstance{conn: conn}
	stop := make(chan struct{})
	var work sync.WaitGroup
	epoch := time.Now().UnixMilli() // of this start of the instance
	r.write("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB a.call.%s.%s.%d %s 1\r\nSUB a.rollcall 2\r\nSUB a.rollcall.%s.%s 3\r\n",
		service, id, epoch, id, service, id)
	work.Go(func() { r.read(t, handle) })
	work.Go(func() { // its reports
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			r.publish("a.report."+service+"."+id, fmt.Sprintf(`{"service":%q,"instance":%q,"epoch":%d,"in_flight":0,"capacity":64,"life_ms":10000}`, service, id, epoch))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		_ = conn.Close()
		work.Wait()
	})
	return r
}

func (r *rawInstance) write(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintf(r.conn, format, args...) // the reader sees that it broke
}

// publish publishes, in one write.
func (r *rawInstance) publish(subject, payload string) {
	r.write("PUB %s %d\r\n%s\r\n", subject, len(payload), payload)
}

// read works off what the server says: MSG subject sid [reply] length, and the payload on the next line.
func (r *rawInstance) read(t *testing.T, handle func(*rawInstance, rawCall)) {
	t.Helper()
	in := bufio.NewReaderSize(r.conn, 64<<10)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "PING":
			r.write("PONG\r\n")
		case f[0] == "MSG":
			n, _ := strconv.Atoi(f[len(f)-1])
			b := make([]byte, n+len("\r\n"))
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			task, err := contracts.ReadTask(b[:n])
			if err == nil && len(f) == 5 {
				handle(r, rawCall{f[3], task})
			}
		}
	}
}

func TestAnInstanceNeedsNothingButASocket(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 1)
	startRaw(t, f.NATS.URL(), "plain", "p1", func(r *rawInstance, c rawCall) {
		r.publish(c.reply, fmt.Sprintf(`{"data":{"client":%q,"key":%q,"got":%s}}`, c.task.Client, c.task.Key, c.task.Data))
	})
	known(t, f, 1)
	got, err := dialCaller(t, f, 0, "alice").Call(t.Context(), "plain", []byte(`{"n":1}`), callWithKey("k1"))
	if err != nil || string(got) != `{"client":"alice","key":"k1","got":{"n":1}}` {
		t.Errorf("%s, %v", got, err)
	}
}
