package httpserver

import (
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// TrustProxies takes a client's address from the PROXY protocol header of peers that are trusted, and demands one of them. It
// is called between Listen and Secure; with no peers it does nothing.
func (p *Part) TrustProxies(trusted []netip.Prefix) {
	if len(trusted) > 0 {
		p.Listener = &proxyproto.Listener{Listener: p.Listener, ConnPolicy: proxyPolicy(trusted), ReadHeaderTimeout: HeaderTime}
	}
}

// proxyPolicy demands a PROXY header from trusted peers, since without one a client behind them could send its own; from
// anybody else it is not looked for, and so is a malformed request.
func proxyPolicy(trusted []netip.Prefix) proxyproto.ConnPolicyFunc {
	return func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		addr, err := netip.ParseAddrPort(o.Upstream.String())
		if err != nil {
			return proxyproto.SKIP, nil //nolint:nilerr // no IP peer is trusted
		}
		for _, p := range trusted {
			if p.Contains(addr.Addr().Unmap()) {
				return proxyproto.REQUIRE, nil
			}
		}
		return proxyproto.SKIP, nil
	}
}
