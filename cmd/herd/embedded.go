package main

import (
	"fmt"

	"herd/bus/access"
	"herd/bus/embed"
	"herd/bus/topology"
)

// embeddedBus is the NATS server of `herd up`. It restricts each server to its own edges,
// with keys that are new at each start. Clients without a key are access.GuestUser.
type embeddedBus struct {
	*embed.Server
	keys access.Keys
	ops  opsSeed
}

// Shutdown stops the NATS server, and removes the seed of its operators, which is void then.
func (b *embeddedBus) Shutdown() {
	b.Server.Shutdown()
	b.ops.remove()
}

// embedBus starts the embedded NATS server.
func (p *process) embedBus() error {
	rules := p.settings.accessRules(p.graph.Load())
	keys, err := access.NewKeys(rules)
	if err != nil {
		return err
	}
	conf, err := p.brokerConf(rules, keys)
	if err != nil {
		return err
	}
	nats, err := embed.StartConf(conf, p.log)
	if err != nil {
		return fmt.Errorf("%w (set HERD_NATS_LISTEN to another address, or HERD_NATS_URL to use a NATS server that is already running)", err)
	}
	ops, err := writeOpsSeed(p.settings.dataDir, keys)
	switch {
	case err != nil && p.settings.dataDir != "":
		nats.Shutdown()
		return fmt.Errorf("HERD_DATA_DIR: write the key of user %s: %w", access.OpsUser, err)
	case err != nil: // SIGHUP remains
		p.log.Warn("no file with the operators' key could be written, so that herd reload is denied: set HERD_DATA_DIR", "err", err)
	}
	p.embedded = &embeddedBus{nats, keys, ops}
	return nil
}

func (p *process) brokerConf(rules access.Rules, keys access.Keys) (string, error) {
	public, err := keys.Public()
	if err != nil {
		return "", err
	}
	return rules.Conf(access.Broker{Listen: p.settings.natsListen, NoAuthUser: access.GuestUser}, public), nil
}

// permit makes the embedded NATS server, if there is one, restrict the servers to the edges
// of g, which has the same servers as before.
func (p *process) permit(g *topology.Graph) error {
	if p.embedded == nil {
		return nil
	}
	conf, err := p.brokerConf(p.settings.accessRules(g), p.embedded.keys)
	if err != nil {
		return err
	}
	return p.embedded.Reload(conf)
}
