package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/natsbus"
	"herd/node"
	"herd/node/journal"
	"herd/places"
)

// process is the servers of a herd that run in one process, and what they share.
type process struct {
	settings settings
	log      *slog.Logger
	metrics  metrics
	servers  []server
	ops      net.Listener // nil for none
	data     *flock.Flock // of HERD_DATA_DIR; nil for none
	keys     access.Keys  // of the users of a bus of our own; nil for another's
}

type server struct {
	name    string
	clients net.Listener
	node    *node.Node
}

// newProcess opens the ports of servers: each server's for clients at the address
// beside its name, and the operators' at opsAddress, "" for none.
func newProcess(s settings, stderr io.Writer, names, addresses []string, opsAddress string) (*process, error) {
	p := &process{
		settings: s,
		log:      slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.logLevel})),
		metrics:  newMetrics(),
	}
	if s.journal != journalOff {
		if err := p.lockData(); err != nil {
			return nil, err
		}
	}
	if err := p.listen(names, addresses, opsAddress); err != nil {
		p.closeListeners()
		return nil, err
	}
	return p, nil
}

// lockData makes HERD_DATA_DIR this process's own, until it ends.
func (p *process) lockData() error {
	p.data = flock.New(filepath.Join(p.settings.dataDir, "lock"))
	switch locked, err := p.data.TryLock(); {
	case err != nil:
		return fmt.Errorf("HERD_DATA_DIR: %w", err)
	case !locked:
		return fmt.Errorf("HERD_DATA_DIR: another process uses %s", p.settings.dataDir)
	}
	return nil
}

func (p *process) listen(names, addresses []string, opsAddress string) (err error) {
	for i, name := range names {
		ln, err := net.Listen("tcp", addresses[i])
		if err != nil {
			return fmt.Errorf("clients' port of %s: %w (HERD_LISTEN takes another)", name, err)
		}
		if p.settings.clientTLS != nil {
			ln = tls.NewListener(ln, p.settings.clientTLS)
		}
		p.servers = append(p.servers, server{name: name, clients: ln})
	}
	if opsAddress == "" {
		return nil
	}
	if p.ops, err = net.Listen("tcp", opsAddress); err != nil {
		return fmt.Errorf("operators' port: %w (HERD_OPS_LISTEN takes another, or off)", err)
	}
	return nil
}

// closeListeners is for a process that will not run.
func (p *process) closeListeners() {
	for _, s := range p.servers {
		s.clients.Close()
	}
	if p.ops != nil {
		p.ops.Close()
	}
}

// run runs the servers, on the bus at urls, until ctx ends or one of them fails.
// It calls introduce, if not nil, once they are ready or have had the time to be.
func (p *process) run(ctx context.Context, urls []string, introduce func()) error {
	source := p.places()
	epoch := uint64(time.Now().UnixNano())
	for i := range p.servers {
		p.servers[i].node = p.newNode(p.servers[i].name, p.servers[i].clients.Addr(), urls, epoch, source)
	}
	if p.ops != nil {
		defer p.serveOps()()
	}
	defer collectOften()()
	tasks, ctx := errgroup.WithContext(ctx)
	for _, s := range p.servers {
		tasks.Go(func() error { return s.node.Run(ctx, s.clients) })
	}
	if introduce != nil {
		tasks.Go(func() error {
			const patience = time.Second
			soon, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			for _, s := range p.servers {
				s.node.AwaitReady(soon)
			}
			if ctx.Err() == nil {
				introduce()
			}
			return nil
		})
	}
	return tasks.Wait()
}

func (p *process) newNode(name string, clients net.Addr, urls []string, epoch uint64, source places.Source) *node.Node {
	s := p.settings
	neighbours := s.graph.Neighbours(name)
	onBus := s.busConfig(urls, name)
	if p.keys != nil { // nothing that HERD_NATS_ says is about a bus of our own
		onBus = natsbus.Config{URLs: urls, Prefix: s.prefix, User: p.keys[name]}
	}
	onBus.Server, onBus.Neighbours, onBus.Epoch, onBus.Log = name, neighbours, epoch, p.log.With("node", name)
	onBus.Service = natsbus.Service{
		Description: "a server of a herd, which tracks where clients are",
		Metadata: map[string]string{
			"server": name, "neighbours": strings.Join(neighbours, " "), "epoch": fmt.Sprint(epoch), "clients": clients.String(),
		},
		Endpoints: bus.Endpoints,
	}
	cfg := node.Config{
		Name: name, Neighbours: neighbours, Adjacent: s.graph.Adjacent, Topology: s.graph.Hash(), Epoch: epoch,
		Limits: s.limits, Repair: s.repair, LogDir: s.logDir,
		Bus:    natsbus.New(onBus),
		Places: source,
		Log:    p.log,
	}
	if s.journal != journalOff {
		cfg.Journal = journal.New(journal.Config{
			Dir: filepath.Join(s.dataDir, name), Sync: s.journal == journalSync, Log: p.log.With("node", name),
		})
	}
	return node.New(cfg)
}

// serveOps serves operators until stop is called.
func (p *process) serveOps() (stop func()) {
	var nodes []*node.Node
	for _, s := range p.servers {
		nodes = append(nodes, s.node)
	}
	p.metrics.servers(nodes...)
	tcp, ok := p.ops.Addr().(*net.TCPAddr)
	s := &http.Server{
		Handler:           node.Ops(ok && tcp.IP.IsLoopback(), p.metrics.registry, nodes...),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(p.ops); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("operators' port", "err", err)
		}
	}()
	return func() {
		s.Close()
		<-done
	}
}
