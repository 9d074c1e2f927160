package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"herd/bus/natsbus"
	"herd/node"
)

// server is one server of the process. The page may stop it, and start it again: then it is another node
// with another connection to the bus, at the same address for clients.
type server struct {
	name    string
	clients net.Listener // of the first run. Its address stays
	log     *slog.Logger
	// build makes the bus and the node of the next run.
	build func() (*natsbus.Bus, *node.Node)
	// starts receives the listener of the next run.
	starts chan net.Listener

	mu    sync.Mutex
	state serverState
	bus   *natsbus.Bus // of this run, or of the last
	node  *node.Node
	stop  context.CancelFunc // of this run
	ended chan struct{}      // closed when this run has ended
}

// serverState is whether a server runs.
type serverState uint8

const (
	serverNew serverState = iota
	serverRuns
	serverStops
	serverStopped
)

func newServer(name string, clients net.Listener) *server {
	return &server{name: name, clients: clients, starts: make(chan net.Listener)}
}

// prepare makes the bus and the node of the next run.
func (s *server) prepare() {
	bus, node := s.build()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bus, s.node = bus, node
}

// run runs the server until ctx ends or it fails. While it is stopped it waits. prepare must be called before.
func (s *server) run(ctx context.Context) error {
	for ln := s.clients; ; {
		running, stop := context.WithCancel(ctx)
		n := s.begin(stop)
		err := n.Run(running, ln)
		stop()
		asked := s.end()
		if !asked || ctx.Err() != nil {
			return err
		}
		if err != nil {
			s.log.Warn("stopped, but not everything was handed over", "node", s.name, "err", err)
		}
		select {
		case ln = <-s.starts:
		case <-ctx.Done():
			return nil
		}
	}
}

// begin notes that a run begins.
func (s *server) begin(stop context.CancelFunc) *node.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.stop, s.ended = serverRuns, stop, make(chan struct{})
	return s.node
}

// end notes that a run has ended, and reports whether Stop asked for that.
func (s *server) end() (asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked = s.state == serverStops
	s.state = serverStopped
	close(s.ended)
	return asked
}

// Stop stops the server as SIGTERM does, and returns when it has stopped, or when ctx ends.
func (s *server) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.state != serverRuns {
		s.mu.Unlock()
		return fmt.Errorf("%s does not run", s.name)
	}
	s.state = serverStops
	stop, ended := s.stop, s.ended
	s.mu.Unlock()
	s.log.Info("the page stops a server", "node", s.name)
	stop()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s has not stopped yet", s.name)
	}
}

// Start starts a server that was stopped. Its error says why it cannot listen.
func (s *server) Start(ctx context.Context) error {
	s.mu.Lock()
	stopped := s.state == serverStopped
	s.mu.Unlock()
	if !stopped {
		return fmt.Errorf("%s is not stopped", s.name)
	}
	ln, err := net.Listen("tcp", s.clients.Addr().String())
	if err != nil { // another start may be faster
		return fmt.Errorf("%s cannot listen: %w", s.name, err)
	}
	s.prepare()
	select {
	case s.starts <- ln:
		s.log.Info("the page starts a server", "node", s.name)
		return nil
	case <-ctx.Done():
		ln.Close()
		return errors.New("the process stops")
	}
}

// IsStopped reports whether the page has stopped the server.
func (s *server) IsStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == serverStops || s.state == serverStopped
}

// current is the node of this run, or of the last.
func (s *server) current() *node.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// Name is the server's name: opshttp.Server.
func (s *server) Name() string { return s.name }

// Stats is the numbers of this run, or of the last: opshttp.Server.
func (s *server) Stats() node.Stats { return s.current().Stats() }

// Ready is nil if the server is ready, or says why it is not: opshttp.Server.
func (s *server) Ready() error {
	if s.IsStopped() {
		return fmt.Errorf("%s: stopped by the page", s.name)
	}
	return s.current().Ready()
}
