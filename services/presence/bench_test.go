package presence_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/presence/presencetest"
)

// BenchmarkLookup looks up batches of clients, of whom each has one session, in a real Redis over loopback, as an edge's
// router does.
func BenchmarkLookup(b *testing.B) {
	r := presencetest.StartRedis(b)
	d := join(b, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: r.Config(), SweepInterval: -1})
	clients := make([]contracts.Address, 256)
	for i := range clients {
		client := contracts.ClientID("client-" + strconv.Itoa(i))
		clients[i] = client.Address()
		connect(b, d, client)
	}
	for _, size := range []int{1, 16, 256} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			before := commands(b, r)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Lookup(b.Context(), clients[:size]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(commands(b, r)-before)/float64(b.N), "redis-cmds/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/client")
		})
	}
}

// BenchmarkConnect writes an entry and removes it again, from 64 goroutines, as when many clients come back at once.
func BenchmarkConnect(b *testing.B) {
	r := presencetest.StartRedis(b)
	d := join(b, presence.Config{Cluster: "c", Node: "a", Epoch: 1, Redis: r.Config(), SweepInterval: -1})
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s := contracts.NewSessionID()
		client := contracts.ClientID(s).Address()
		for pb.Next() {
			if _, _, err := d.Connect(b.Context(), client, contracts.Entry{Session: s}); err != nil {
				b.Error(err)
			}
			if _, err := d.Disconnect(b.Context(), client, s); err != nil {
				b.Error(err)
			}
		}
	})
}

var processed = regexp.MustCompile(`total_commands_processed:(\d+)`)

// commands returns how many commands Redis has carried out.
func commands(b *testing.B, r *presencetest.Redis) int {
	b.Helper()
	info, err := r.Client(b).Info(b.Context(), "stats").Result()
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.Atoi(processed.FindStringSubmatch(info)[1])
	if err != nil {
		b.Fatal(err)
	}
	return n
}
