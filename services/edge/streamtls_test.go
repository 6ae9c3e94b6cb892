package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

func TestTLSClientsThatReadNothingDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	some := httptest.NewTLSServer(nil)
	some.Close()
	d := &directoryFake{restored: make(chan struct{}, 1), records: map[contracts.Address]map[contracts.SessionID]contracts.Entry{}}
	e := New(DefaultConfig(), Options{Cluster: "a", Node: "a1", Epoch: 1, Directory: d, Auth: byToken{}, Blip: time.Second})
	e.Start(t.Context(), &readyCourier{})
	for i := range 3 {
		client, server := net.Pipe() // which takes nothing that is not read
		t.Cleanup(func() { _ = client.Close() })
		e.TakeTCP(tls.Server(server, some.TLS))
		secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		auth := contracts.AppendAuth(nil, contracts.Auth{Token: fmt.Sprint("c", i)})
		_, _ = secure.Write(contracts.AppendFrame(nil, auth))
		if got, err := readTCP(secure); err != nil || !strings.Contains(string(got), "ready") {
			t.Fatalf("%q, %v", got, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
	defer cancel()
	began := time.Now()
	e.Close(ctx)
	if took := time.Since(began); took > e.cfg.WriteTime/2 {
		t.Errorf("it took %v", took)
	}
}
