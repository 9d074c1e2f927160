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
	"time"

	"golang.org/x/sync/errgroup"

	"herd/bus/access"
	"herd/bus/topology"
	"herd/node/replica"
)

// hangups are the SIGHUPs that the process gets. One means reload, or stop if the terminal is
// gone on which the process was started.
type hangups struct {
	signals  <-chan os.Signal // those that arrive while one is handled count as one
	terminal *os.File         // nil without a terminal, and under nohup
}

// catchHangups keeps two signals from ending the process at once: SIGHUP, and SIGPIPE, if
// nobody reads its output any more.
func catchHangups() hangups {
	signal.Ignore(syscall.SIGPIPE)
	var h hangups
	if !signal.Ignored(syscall.SIGHUP) {
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
			if isTerminal(f) {
				h.terminal = f
				break
			}
		}
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	h.signals = c
	return h
}

// terminalGone reports whether the terminal of the process was closed.
func (h hangups) terminalGone() bool { return h.terminal != nil && !isTerminal(h.terminal) }

// handleHangups reloads at each SIGHUP, until ctx ends or the terminal is gone.
func (p *process) handleHangups(ctx context.Context, stop func()) {
	for {
		select {
		case <-p.hangups.signals:
			if p.hangups.terminalGone() {
				p.log.Info("stopping: the terminal was closed")
				stop()
				return
			}
			p.reloading.Lock()
			p.reload(ctx) // which logs its outcome
			p.reloading.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// reloaded is the outcome of a part of a reload: of one server, or of the process if server
// is "".
type reloaded struct {
	server  string
	changes []string
	err     error
}

// reload reads again what may change while the process runs: the topology file, the
// certificate of the clients' port, the authority of the clients' certificates, and the key and
// certificates for NATS. It logs the outcome, and returns it by parts. What cannot be read stays
// as it is, and the rest is reloaded. Traffic logs are opened anew, which is no change. If edges
// are replaced, it takes up to node.NewEdgeTimeout, or until ctx ends. It needs p.reloading.
func (p *process) reload(ctx context.Context) (parts []reloaded) {
	changes, err := p.reloadCertificate()
	parts = append(parts, reloaded{"", changes, err})
	changes, err = p.reloadAuthority()
	parts = append(parts, reloaded{"", changes, err})
	for _, s := range p.servers {
		changes, err = s.reloadBus()
		parts = append(parts, reloaded{s.name, changes, err})
		s.current().ReopenTrafficLog()
	}
	parts = append(parts, p.reloadTopology(ctx)...)
	var faults []error
	changes = nil
	for _, part := range parts {
		changes, faults = append(changes, part.changes...), append(faults, part.err)
	}
	what := "none"
	if len(changes) > 0 {
		what = strings.Join(changes, "; ")
	}
	p.log.Info("reloaded", "changes", what)
	if err := errors.Join(faults...); err != nil {
		p.log.Error("not everything was reloaded", "err", err)
	}
	return parts
}

// reloadFor reloads at the request of a tool to one server, and returns what concerns that
// server. `herd reload` requests it of all servers at the same time, but the first request
// changes all servers of the process. So a server also reports what the requests to others
// have changed a short time before.
func (p *process) reloadFor(ctx context.Context, server string) (changes []string, err error) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	parts := p.reload(ctx)
	now := time.Now()
	p.unreported = slices.DeleteFunc(p.unreported, func(u unreported) bool { return now.Sub(u.at) > reloadTimeout })
	var faults []error
	for _, part := range parts {
		if part.server == "" || part.server == server {
			faults = append(faults, part.err)
		}
		for _, s := range p.servers {
			if len(part.changes) > 0 && (part.server == "" || part.server == s.name) {
				p.unreported = append(p.unreported, unreported{s.name, part.changes, now})
			}
		}
	}
	p.unreported = slices.DeleteFunc(p.unreported, func(u unreported) bool {
		if u.server == server {
			changes = append(changes, u.changes...)
		}
		return u.server == server
	})
	return changes, errors.Join(faults...)
}

// unreported is changes that a server has not yet replied to a request to reload.
type unreported struct {
	server  string
	changes []string
	at      time.Time
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
func (s *server) reloadBus() (changes []string, err error) {
	s.mu.Lock()
	bus := s.bus
	s.mu.Unlock()
	changed, err := bus.Reload()
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
func (p *process) reloadTopology(ctx context.Context) []reloaded {
	refused := func(err error) []reloaded { return []reloaded{{err: err}} }
	g, err := topology.Load(p.settings.topology)
	if err == nil {
		err = access.CheckNames(g.Servers())
	}
	switch {
	case err != nil:
		return refused(fmt.Errorf("HERD_TOPOLOGY: %w: the old topology stays", err))
	case g.Hash() == p.graph.Load().Hash():
		return nil
	case p.runsAll && len(g.Servers()) != len(p.servers):
		return refused(errors.New("HERD_TOPOLOGY: servers were added or removed: restart herd up; the old topology stays"))
	}
	for _, s := range p.servers {
		if g.Index(s.name) < 0 {
			return refused(fmt.Errorf("HERD_TOPOLOGY: it no longer has %s: stop this server, or put it back; the old topology stays", s.name))
		}
	}
	// Until the new edges are in step, the old ones are in use too.
	if err := p.permit(p.graph.Load().With(g)); err != nil {
		return refused(err)
	}
	var servers errgroup.Group
	parts := make([]reloaded, len(p.servers))
	for i, s := range p.servers {
		if s.IsStopped() { // it starts with the present topology
			continue
		}
		servers.Go(func() error {
			parts[i] = reloaded{server: s.name, changes: s.current().SetTopology(ctx, topologyOf(g, s.name))}
			return nil
		})
	}
	servers.Wait()
	p.graph.Store(g)
	return append(parts, reloaded{err: p.permit(g)})
}

// topologyOf is what one server knows of a graph.
func topologyOf(g *topology.Graph, name string) replica.Topology {
	return replica.Topology{Neighbours: g.Neighbours(name), Adjacent: g.Adjacent, Hash: g.Hash()}
}
