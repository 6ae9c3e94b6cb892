package tests

import (
	"testing"

	"github.com/beeline-rt/beeline/tests/fleet"
)

func TestTCPClientAndBrowserTalkAcrossNodes(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, 2)
	tcp, ws := f.DialTCP(0, "tcp"), f.Dial(1, "ws")
	for range 3 {
		if got := tcp.Send("ws", `{"hi":1}`); got != "delivered" {
			t.Fatal(got)
		}
		ws.Expect("tcp", `{"hi":1}`)
		if got := ws.Send("tcp", `{"hi":2}`); got != "delivered" {
			t.Fatal(got)
		}
		tcp.Expect("ws", `{"hi":2}`)
	}
}
