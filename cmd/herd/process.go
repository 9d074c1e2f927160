package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/cmd/herd/watch"
	"herd/node"
	"herd/node/journal"
	"herd/node/opshttp"
	"herd/node/status"
	"herd/places"
	"herd/places/stack"
)

// process is the servers of a herd that run in one process, and what they share:
// the log, the metrics, the operator HTTP server, the data directory and the source of
// places.
type process struct {
	settings settings
	log      *slog.Logger
	hangups  hangups
	metrics  metrics
	servers  []*server
	ops      net.Listener // nil if HERD_OPS_LISTEN is off
	data     *flock.Flock // locks HERD_DATA_DIR; nil if nothing is written to it
	embedded *embeddedBus // nil with an external NATS server
	runsAll  bool         // it runs all servers of the herd
	cuts     cuts         // of the page

	graph atomic.Pointer[topology.Graph] // in use; reload changes it

	reloading  sync.Mutex   // for reload
	unreported []unreported // changes of reloads
}

// ports are the addresses at which a process listens.
type ports struct {
	clients []serverPort // of the servers that it runs
	ops     string       // of the operator HTTP server; "" for none
	nats    string       // of the embedded NATS server; "" for none
}

// serverPort is the address at which a server listens for clients.
type serverPort struct{ server, address string }

// newProcess opens the ports for clients and for operators. It checks that the port for NATS is free.
func newProcess(s settings, c console, hangups hangups, ports ports) (*process, error) {
	p := &process{
		settings: s,
		log:      slog.New(slog.NewTextHandler(c.Err, &slog.HandlerOptions{Level: s.logLevel})),
		hangups:  hangups,
		metrics:  newMetrics(c.log.Dropped),
	}
	p.graph.Store(s.graph)
	embeds := ports.nats != ""
	if s.journal != journalOff || embeds && s.dataDir != "" { // for journals, for the seed of its operators
		if err := p.lockData(); err != nil {
			return nil, err
		}
	}
	if err := p.listen(ports); err != nil {
		p.closeListeners()
		return nil, err
	}
	return p, nil
}

// lockData locks HERD_DATA_DIR until the process ends.
func (p *process) lockData() error {
	p.data = flock.New(filepath.Join(p.settings.dataDir, "lock"))
	switch locked, err := p.data.TryLock(); {
	case err != nil:
		return fmt.Errorf("HERD_DATA_DIR: %w", err)
	case !locked:
		return fmt.Errorf("HERD_DATA_DIR: another process uses %s: set a directory of its own for each process", p.settings.dataDir)
	}
	return nil
}

// listen opens all ports. Its error names each address that cannot be opened.
func (p *process) listen(ports ports) error {
	var faults []portFault
	open := func(address, what, variable string) net.Listener {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			faults = append(faults, portFault{address, what, variable, err})
		}
		return ln
	}
	for _, port := range ports.clients {
		if ln := open(port.address, "clients of "+port.server, "HERD_LISTEN"); ln != nil {
			p.servers = append(p.servers, newServer(port.server, ln))
		}
	}
	if ports.ops != "" {
		p.ops = open(ports.ops, "operators", "HERD_OPS_LISTEN")
	}
	if ports.nats != "" {
		if ln := open(ports.nats, "NATS", "HERD_NATS_LISTEN"); ln != nil {
			ln.Close() // the NATS server opens it
		}
	}
	return portsError(faults)
}

// portFault is an address at which the process cannot listen, and the variable that chooses
// another one.
type portFault struct {
	address, what, variable string
	err                     error
}

// portsError is an error for all addresses at which the process cannot listen; nil for none.
func portsError(faults []portFault) error {
	if len(faults) == 0 {
		return nil
	}
	var lines, variables []string
	hint := ""
	for _, f := range faults {
		reason := f.err.Error()
		if op := (*net.OpError)(nil); errors.As(f.err, &op) {
			reason = op.Err.Error() // without the address
		}
		lines = append(lines, fmt.Sprintf("%s for %s: %s", f.address, f.what, reason))
		if !slices.Contains(variables, f.variable) {
			variables = append(variables, f.variable)
		}
		if errors.Is(f.err, syscall.EADDRINUSE) {
			hint = "is another herd running? "
		}
	}
	hint += "set " + strings.Join(variables, ", ") + " to use other addresses; port 0 takes a free port"
	if len(lines) == 1 {
		return fmt.Errorf("cannot listen at %s (%s)", lines[0], hint)
	}
	return fmt.Errorf("cannot listen at %d addresses:\n  %s\n%s", len(lines), strings.Join(lines, "\n  "), hint)
}

// closeListeners releases the ports of a process that will not run.
func (p *process) closeListeners() {
	for _, s := range p.servers {
		s.clients.Close()
	}
	if p.ops != nil {
		p.ops.Close()
	}
}

// run runs the servers, with the bus at urls, until ctx is cancelled or one of them
// fails. It calls ready, if not nil, when all are ready, or after a second.
func (p *process) run(ctx context.Context, urls []string, ready func()) error {
	source := stack.New(p.placesConfig())
	p.settings.limits.Files = p.settings.limitConns(p.log, len(p.servers), p.pageFiles())
	p.settings.limits.MapBytes = p.settings.limitMaps(p.log, p.servers)
	if names := p.graph.Load().Servers(); len(names) == 1 {
		p.log.Info("a herd of one server: the topology is a single name, without edges", "node", names[0], "HERD_TOPOLOGY", p.settings.topology)
	}
	for _, s := range p.servers {
		s.log = p.log
		s.build = func() (*natsbus.Bus, *node.Node) {
			return p.newNode(s.name, s.clients.Addr(), urls, source, func() ([]string, error) { return p.reloadFor(ctx, s.name) })
		}
		s.prepare()
	}
	limitGarbage()
	if p.ops != nil {
		defer p.serveOps(p.newPage(urls, source))()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	tasks, ctx := errgroup.WithContext(ctx)
	for _, s := range p.servers {
		tasks.Go(func() error { return s.run(ctx) })
	}
	tasks.Go(func() error {
		p.handleHangups(ctx, stop)
		return nil
	})
	if ready != nil {
		tasks.Go(func() error {
			waiting, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			for _, s := range p.servers {
				s.current().AwaitReady(waiting)
			}
			if ctx.Err() == nil {
				ready()
			}
			return nil
		})
	}
	return tasks.Wait()
}

// limitGarbage makes the garbage collector run when garbage is a fifth of the live heap,
// unless the environment sets GOGC. Go's default is the whole of it: with 2,000,000 clients
// an update takes 9 % more CPU with that, and a process 30 % more memory (node/DESIGN.md).
// Records hold few pointers, so a collection is cheap.
func limitGarbage() {
	const percent = 20
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// placesConfig is the configuration of the places source that the servers share.
func (p *process) placesConfig() stack.Config {
	cfg := p.settings.places
	cfg.Budget = stack.Unlimited
	if budget := p.settings.placesBudget; budget != stack.Unlimited {
		cfg.Budget = 0
		for _, s := range p.servers { // the process may spend the shares of its servers
			cfg.Budget += places.Share(budget, p.settings.graph.Index(s.name), len(p.settings.graph.Servers()))
		}
	}
	for _, source := range cfg.Sources {
		if stack.NeedsKey(source.Name) && cfg.Budget == stack.Unlimited {
			p.log.Warn("no limit on the calls to a places source that costs money: set HERD_PLACES_BUDGET", "places", source.Name)
		}
	}
	cfg.Agent = "herd/" + strings.Trim(version(), "()")
	cfg.Observe, cfg.Refused = p.metrics.observePlaces, p.metrics.refusedPlaces
	cfg.Log = p.log
	return cfg
}

// newNode makes the bus and the node of one run of a server.
func (p *process) newNode(name string, clients net.Addr, urls []string, source places.Source, reload func() ([]string, error)) (*natsbus.Bus, *node.Node) {
	epoch := uint64(time.Now().UnixNano())
	g := p.graph.Load()
	bus := p.newBus(name, g.Neighbours(name), clients, urls, epoch)
	s := p.settings
	cfg := node.Config{
		Name: name, Neighbours: g.Neighbours(name), Adjacent: g.Adjacent, Topology: g.Hash(), Epoch: epoch,
		Limits: s.limits, Repair: s.repair, Keep: s.keep, LogDir: s.logDir, TLS: s.clientTLS.config(), Binding: s.binding, Proxies: s.proxies,
		Bus: bus, Places: source, Log: p.log, Reload: reload,
	}
	if p.hasPage() { // whose controls cut edges
		cfg.Bus = cutBus{bus, name, &p.cuts}
	}
	if s.journal != journalOff {
		cfg.Journal = journal.New(journal.Config{
			Dir: filepath.Join(s.dataDir, name), Sync: s.journal == journalSync, Prefix: string(s.prefix), Server: name, Log: p.log.With("node", name),
		})
	}
	return bus, node.New(cfg)
}

// newBus makes a server's connection to the bus.
func (p *process) newBus(name string, neighbours []string, clients net.Addr, urls []string, epoch uint64) *natsbus.Bus {
	s := p.settings
	cfg := s.busConfig(urls, name)
	if p.embedded != nil { // HERD_NATS_* does not apply
		cfg = natsbus.Config{URLs: urls, Prefix: s.prefix, User: p.embedded.keys[name]}
	}
	cfg.Server, cfg.Neighbours, cfg.Epoch, cfg.Log = name, neighbours, epoch, p.log.With("node", name)
	metadata := map[string]string{
		"server": name, "neighbours": strings.Join(cfg.Neighbours, " "), "epoch": fmt.Sprint(epoch), "clients": clients.String(),
	}
	if p.embedded != nil && p.embedded.ops.path != "" {
		metadata[opsSeedKey] = p.embedded.ops.path
	}
	cfg.Service = natsbus.Service{
		Description: "herd server: tracks the locations of mobile clients",
		Metadata:    metadata,
		Endpoints:   status.Endpoints,
	}
	return natsbus.New(cfg)
}

// serveOps serves HTTP to operators until stop is called. A page is served, too, unless it is nil.
func (p *process) serveOps(page *watch.Page) (stop func()) {
	var servers []opshttp.Server
	for _, s := range p.servers {
		servers = append(servers, s)
	}
	p.metrics.servers(servers...)
	tcp, ok := p.ops.Addr().(*net.TCPAddr)
	pageRequests := 0
	var root opshttp.Page
	endPage := func() {}
	if page != nil {
		pageRequests, root, endPage = watch.MaxRequests, page, runPage(page)
	}
	s := opshttp.NewServer(opshttp.Handler(ok && tcp.IP.IsLoopback(), p.metrics.registry, root, servers...), pageRequests, p.log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(p.ops); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("operator HTTP server failed", "err", err)
		}
	}()
	return func() {
		endPage()
		s.Close()
		<-done
	}
}
