package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"herd/bus/access"
	"herd/bus/topology"
	"herd/node/replica"
)

// survive keeps two signals from ending the process: SIGHUP, also that of a terminal that
// is closed, and SIGPIPE, if nobody reads its output any more. It returns the SIGHUPs.
// Those that arrive while one is handled count as one.
func survive() (hangups <-chan os.Signal) {
	signal.Ignore(syscall.SIGPIPE)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// reloadOnHangup reloads at each SIGHUP, until ctx ends.
func (p *process) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-p.hangups:
			p.reload(ctx) // which logs its outcome
		case <-ctx.Done():
			return
		}
	}
}

// reload reads again what may change while the process runs: the topology file, the
// certificate of the clients' port, the authority of the clients' certificates, and the key and
// certificates for NATS. It logs the outcome,
// and returns what changed, in words. What cannot be read stays as it is and is part of the
// error; the rest is reloaded. Traffic logs are opened anew, which is no change. Calls follow
// one another. If edges are replaced, it takes up to 10 s or until ctx ends.
func (p *process) reload(ctx context.Context) (changes []string, err error) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	var faults []error
	part := func(changed []string, err error) {
		changes = append(changes, changed...)
		if err != nil {
			faults = append(faults, err)
		}
	}
	part(p.reloadCertificate())
	part(p.reloadAuthority())
	for _, s := range p.servers {
		part(s.reloadBus())
		s.node.ReopenTrafficLog()
	}
	part(p.reloadTopology(ctx))
	what := "none"
	if len(changes) > 0 {
		what = strings.Join(changes, "; ")
	}
	p.log.Info("reloaded", "changes", what)
	if err = errors.Join(faults...); err != nil {
		p.log.Error("not everything was reloaded", "err", err)
	}
	return changes, err
}

func (p *process) reloadCertificate() (changes []string, err error) {
	if p.settings.clientTLS == nil {
		return nil, nil
	}
	changed, err := p.settings.clientTLS.reloadCertificate()
	switch {
	case err != nil:
		return nil, fmt.Errorf("HERD_TLS_CERT, HERD_TLS_KEY: %w: clients still get the old certificate", err)
	case changed:
		return []string{"certificate of the client port"}, nil
	}
	return nil, nil
}

func (p *process) reloadAuthority() (changes []string, err error) {
	if p.settings.clientTLS == nil {
		return nil, nil
	}
	changed, err := p.settings.clientTLS.reloadAuthority()
	switch {
	case err != nil:
		return nil, fmt.Errorf("HERD_TLS_CLIENT_CA: %w: the certificates of clients are still verified against the old one", err)
	case changed:
		return []string{"CA of the clients' certificates"}, nil
	}
	return nil, nil
}

// reloadBus reads the server's key and certificates for NATS.
func (s server) reloadBus() (changes []string, err error) {
	changed, err := s.bus.Reload()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w: the old key and certificates stay in use", s.name, err)
	case changed:
		return []string{s.name + ": key or certificates for NATS"}, nil
	}
	return nil, nil
}

// reloadTopology reads the topology file, and changes the edges of the servers. The servers
// of the process stay: `herd up` cannot add or remove one.
func (p *process) reloadTopology(ctx context.Context) (changes []string, err error) {
	g, err := topology.Load(p.settings.topology)
	if err == nil {
		err = access.CheckNames(g.Servers())
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("HERD_TOPOLOGY: %w: the old topology stays", err)
	case g.Hash() == p.graph.Hash():
		return nil, nil
	case p.whole && len(g.Servers()) != len(p.servers):
		return nil, errors.New("HERD_TOPOLOGY: servers were added or removed: restart herd up; the old topology stays")
	}
	for _, s := range p.servers {
		if g.Index(s.name) < 0 {
			return nil, fmt.Errorf("HERD_TOPOLOGY: it no longer has %s: stop this server, or put it back; the old topology stays", s.name)
		}
	}
	// Until the new edges are in step, the old ones are in use too.
	if err := p.permit(p.graph.With(g)); err != nil {
		return nil, err
	}
	var servers errgroup.Group
	of := make([][]string, len(p.servers))
	for i, s := range p.servers {
		servers.Go(func() error {
			of[i] = s.node.SetTopology(ctx, topologyOf(g, s.name))
			return nil
		})
	}
	servers.Wait()
	p.graph = g
	return slices.Concat(of...), p.permit(g)
}

// topologyOf is what one server knows of a graph.
func topologyOf(g *topology.Graph, name string) replica.Topology {
	return replica.Topology{Neighbours: g.Neighbours(name), Adjacent: g.Adjacent, Hash: g.Hash()}
}
