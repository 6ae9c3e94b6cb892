package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connectAtOnce = 32 // logins under way at a time
	connectTime   = 30 * time.Second
	perSource     = 5000 // connections from one address, which has some 28,000 ports
)

// connectAll connects clients, and tells how it goes. After an error none of them is left.
func connectAll(ctx context.Context, d Driver, logins []Login, progress func(string)) ([]Conn, error) {
	return connectSome(ctx, d, logins, connectAtOnce, func(n int) {
		if n%1000 == 0 {
			progress(fmt.Sprintf("%d of %d clients are connected", n, len(logins)))
		}
	})
}

// connectSome connects clients, so many at a time. After an error none of them is left.
func connectSome(ctx context.Context, d Driver, logins []Login, atOnce int, done func(int)) ([]Conn, error) {
	conns := make([]Conn, len(logins))
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var (
		next, count atomic.Int64
		workers     sync.WaitGroup
	)
	for range min(atOnce, len(logins)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(logins) && ctx.Err() == nil; i = next.Add(1) - 1 {
				c, err := connect(ctx, d, logins[i])
				if err != nil {
					fail(err)
					return
				}
				conns[i] = c
				done(int(count.Add(1)))
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		cutAll(conns)
		return nil, err
	}
	return conns, nil
}

func connect(ctx context.Context, d Driver, l Login) (Conn, error) {
	limited, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	c, err := d.Dial(limited, l)
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("it took longer than %v: %w", connectTime, err)
		}
		return nil, fmt.Errorf("connect %s to %s: %w", l.Client, l.URL, err)
	}
	return c, nil
}

// cutAll ends connections. There may be none in a place.
func cutAll(conns []Conn) {
	for _, c := range conns {
		if c != nil {
			_ = c.Cut()
		}
	}
}

// spread gives many clients of nodes on this machine several addresses of it to connect from: each has its own ports.
func spread(logins []Login) {
	if len(logins) <= perSource {
		return
	}
	for i := range logins {
		u, err := url.Parse(logins[i].URL)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() || ip.To4() == nil {
			continue
		}
		// Those of the last run still occupy the ports that they had, for a minute.
		const first, count = 2, 250
		logins[i].Source = netip.AddrFrom4([4]byte{127, 0, 0, byte(first + (os.Getpid()*7+i/perSource)%count)})
	}
}

// roomFor refuses more connections than this process may have files.
func roomFor(connections int) error {
	const others = 100
	if limit := fileLimit(); limit > 0 && connections+others > limit {
		return fmt.Errorf("%d connections need more files than the %d that this process may have: raise the limit (ulimit -n), or ask for fewer", connections, limit)
	}
	return nil
}

// ended makes of the end of a connection that should have lasted an error.
func ended(client string, err error) error {
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	return fmt.Errorf("the connection of %s ended: %w", client, err)
}
