package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/gatewayserver"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/registry"
	"github.com/beeline-rt/beeline/services/registryserver"
)

// newTicketKey returns a random key, in base64: tickets of one dev are good nowhere else.
func newTicketKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(key)
}

// startGateways starts a gateway for each cluster, over WebSocket and raw TCP. They pass clients on to each other, so each is told
// of the others before it starts: the listeners are opened first.
func (d *dev) startGateways(ctx context.Context, all []*cluster) error {
	ws, tcp := doors{}, doors{}
	defer ws.close() // what no gateway has taken over
	defer tcp.close()
	if err := errors.Join(ws.open(d, all, 0), tcp.open(d, all, devTCPPort)); err != nil {
		return err
	}
	peers, tcpPeers := ws.addresses(), tcp.addresses()
	for _, c := range all {
		name := c.plan.name
		cfg := gatewayserver.DefaultConfig()
		cfg.Listener, cfg.TCPListener, cfg.Admin = ws[name], tcp[name], d.address(c.plan.gateway.admin)
		cfg.Redis, cfg.TicketKeys, cfg.DrainTime, cfg.Logger = c.redis, []string{d.ticket}, 0, d.log
		cfg.Gateway.Probe = time.Second // all is one process here: when it is busy, so is everything
		cfg.Gateway.Cluster, cfg.Gateway.AnswerTime = name, devAnswerTime
		cfg.Gateway.Peers, cfg.Gateway.TCPPeers = but(peers, name), but(tcpPeers, name)
		g, err := d.process.startGateway(ctx, cfg)
		if err != nil {
			return fmt.Errorf("the gateway of cluster %s did not start: %w", name, err)
		}
		delete(ws, name)
		delete(tcp, name)
		c.gateways = []string{g.URL()}
		if raw, is := g.(interface{ TCPURL() string }); is {
			c.gateways = append(c.gateways, raw.TCPURL())
		}
		d.add(layerGateways, c, "gateway", g)
	}
	return nil
}

// doors are listeners, one for the gateway of each cluster.
type doors map[contracts.ClusterName]net.Listener

// open opens them, so far above the ports of the gateways.
func (l doors) open(d *dev, all []*cluster, above int) error {
	for _, c := range all {
		listener, err := d.listen(beside(c.plan.gateway.port, above))
		if err != nil {
			return fmt.Errorf("listen for a gateway: %w", err)
		}
		l[c.plan.name] = listener
	}
	return nil
}

func (l doors) close() {
	for _, listener := range l {
		_ = listener.Close()
	}
}

// addresses are where others reach them.
func (l doors) addresses() map[contracts.ClusterName][]string {
	all := map[contracts.ClusterName][]string{}
	for name, listener := range l {
		all[name] = []string{listener.Addr().String()}
	}
	return all
}

// but returns the addresses of all clusters but one.
func but(all map[contracts.ClusterName][]string, one contracts.ClusterName) map[contracts.ClusterName][]string {
	others := maps.Clone(all)
	delete(others, one)
	return others
}

// startRegistries starts a registry for each cluster, each of which knows both. Anybody may ask for anybody.
func (d *dev) startRegistries(ctx context.Context, all []*cluster) error {
	for _, c := range all {
		cfg := registryserver.DefaultConfig()
		cfg.Cluster, cfg.Redis, cfg.Others = c.plan.name, c.redis, map[contracts.ClusterName]presence.Redis{}
		cfg.Admin = d.address(c.plan.registry.admin)
		cfg.TicketKeys, cfg.StopTime, cfg.Logger = []string{d.ticket}, devStopTime, d.log
		cfg.Registry.Anonymous, cfg.Registry.Rate, cfg.Registry.Origins = true, 0, []string{"*"}
		for _, other := range all {
			for _, url := range other.gateways {
				cfg.Registry.Gateways = append(cfg.Registry.Gateways, registry.Gateway{Cluster: other.plan.name, URL: url})
			}
			if other != c {
				cfg.Others[other.plan.name] = other.redis
			}
		}
		var err error
		if cfg.Listener, err = d.listen(c.plan.registry.port); err != nil {
			return fmt.Errorf("listen for a registry: %w", err)
		}
		r, err := d.process.startRegistry(ctx, cfg)
		if err != nil {
			_ = cfg.Listener.Close()
			return fmt.Errorf("the registry of cluster %s did not start: %w", c.plan.name, err)
		}
		d.add(layerRegistries, c, "registry", r)
	}
	return nil
}
