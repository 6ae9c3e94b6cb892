package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
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

// startGateways starts a gateway for each cluster. They pass clients on to each other, so each is told of the others before
// it starts: the listeners are opened first.
func (d *dev) startGateways(ctx context.Context, all []*cluster) error {
	listeners := map[contracts.ClusterName]net.Listener{}
	defer func() {
		for _, l := range listeners { // that no gateway has taken over
			_ = l.Close()
		}
	}()
	peers := map[contracts.ClusterName][]string{}
	for _, c := range all {
		l, err := d.listen(c.plan.gateway.port)
		if err != nil {
			return fmt.Errorf("listen for a gateway: %w", err)
		}
		listeners[c.plan.name], peers[c.plan.name] = l, []string{l.Addr().String()}
	}
	for _, c := range all {
		cfg := gatewayserver.DefaultConfig()
		cfg.Listener, cfg.Admin = listeners[c.plan.name], d.address(c.plan.gateway.admin)
		cfg.Redis, cfg.TicketKeys, cfg.DrainTime, cfg.Logger = c.redis, []string{d.ticket}, 0, d.log
		cfg.Gateway.Probe = time.Second // all is one process here: when it is busy, so is everything
		cfg.Gateway.Cluster, cfg.Gateway.AnswerTime, cfg.Gateway.Peers = c.plan.name, devAnswerTime, map[contracts.ClusterName][]string{}
		for name, addrs := range peers {
			if name != c.plan.name {
				cfg.Gateway.Peers[name] = addrs
			}
		}
		g, err := d.process.startGateway(ctx, cfg)
		if err != nil {
			return fmt.Errorf("the gateway of cluster %s did not start: %w", c.plan.name, err)
		}
		delete(listeners, c.plan.name)
		c.gateway = g.URL()
		d.add(layerGateways, c, "gateway", g)
	}
	return nil
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
			cfg.Registry.Gateways = append(cfg.Registry.Gateways, registry.Gateway{Cluster: other.plan.name, URL: other.gateway})
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
