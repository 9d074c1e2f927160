package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
	"herd/places"
)

// Bus is what a server needs of the message bus; natsbus.Bus says what each
// method promises.
type Bus interface {
	Run(ctx context.Context, h bus.Handler) error
	Send(ms ...bus.Message) error
	MaxData() int
	PublishEvent(kind, peer, text string) error
}

// Config is what a server is made of. All of it must be set, but for LogDir
// and Journal.
type Config struct {
	Name       string
	Neighbours []string
	Adjacent   func(a, b string) bool // of the graph
	Topology   uint64                 // hash of the graph, which neighbours compare
	Epoch      uint64                 // this life of the server
	Limits     Limits
	Repair     time.Duration // how often maps are compared, beside the times they must; 0 for never
	LogDir     string        // of the traffic log; none if empty. It must exist

	Bus     Bus
	Journal Journal // nil for none
	Places  places.Source
	Log     *slog.Logger
}

// Limits bind clients. What comes over an edge is not bound by them, or the maps
// would come apart.
type Limits struct {
	Line    int           // bytes of a line, its LF not counted
	Conns   int           // connections at a time; of one address, loopback apart, half as many
	Clients int           // clients in the map, beyond which new ones are refused
	Idle    time.Duration // without a complete line
	Write   time.Duration // for the client to take a reply
}

const (
	// grace is how long a stop may take: to answer what was read, to flood it, and
	// to have it confirmed.
	grace = 8 * time.Second
	// reaching is how long the bus has to be there before a server gets ready
	// without it.
	reaching = 2 * time.Second
)

// Node is one server of a herd.
type Node struct {
	cfg  Config
	log  *slog.Logger
	edge map[string]int // number of the edge to a neighbour, in the replica
	junk []junk         // by edge
	// traffic is the log of all input and output; nil for none.
	traffic *trafficLog

	mu      sync.Mutex
	replica *replica.Replica
	flood   progress
	flooder flooder
	moment  *time.Timer // tells runFlood that one has passed, while replica.Presuming
	timing  bool        // it is set
	journal progress
	damage  []string // what was wrong with the journal
	// The journal's goroutine's alone: room for frames, and when a compaction is not to
	// be tried before.
	journalRoom [journalFrames][]byte
	compactNext time.Time
	behindSince time.Time // when there was news for the journal that is not all in it; zero for none
	// unsendable counts lines that were too large for the bus.
	unsendable int
	bus        busState
	stopping   bool
	goodbye    bool // it has been said: nothing more goes to neighbours
	sessions   sessions
	events     map[replica.Kind]uint64 // how many there have been
	followed   followed
	latencies  [commands]latency // of replies; not guarded

	workspaces   sync.Pool       // that no session has
	questions    context.Context // of places: ends when a stop has no more time for them
	endQuestions context.CancelFunc

	reached gate // opens when the bus was first there
	ready   gate // opens as Ready says
}

// gate is closed until it is opened, once and for all.
type gate struct {
	opened <-chan struct{}
	open   func()
}

func newGate() gate {
	c := make(chan struct{})
	return gate{c, sync.OnceFunc(func() { close(c) })}
}

// busState is where we stand with the bus.
type busState uint8

const (
	unreached busState = iota
	present
	away
)

// New makes a server. It does nothing before Run.
func New(cfg Config) *Node {
	n := &Node{
		cfg:        cfg,
		log:        cfg.Log.With("node", cfg.Name),
		edge:       map[string]int{},
		junk:       make([]junk, len(cfg.Neighbours)),
		flood:      newProgress(),
		journal:    newProgress(),
		events:     map[replica.Kind]uint64{},
		sessions:   sessions{open: map[net.Conn]struct{}{}, from: map[string]int{}},
		workspaces: sync.Pool{New: newWorkspace},
		reached:    newGate(),
		ready:      newGate(),
	}
	n.replica = replica.New(replica.Config{
		Name: cfg.Name, Neighbours: cfg.Neighbours, Adjacent: cfg.Adjacent, Epoch: cfg.Epoch, Topology: cfg.Topology, MaxClients: cfg.Limits.Clients,
		Repair: cfg.Repair, Journal: cfg.Journal != nil, Follow: n.follow(),
	})
	n.flooder = newFlooder(n)
	n.moment = time.NewTimer(replica.Moment)
	n.moment.Stop()
	n.questions, n.endQuestions = context.WithCancel(context.Background())
	for i, peer := range cfg.Neighbours {
		n.edge[peer] = i
	}
	if cfg.LogDir != "" {
		n.traffic = newTrafficLog(cfg.LogDir, cfg.Name, n.log)
	}
	return n
}

// Run serves clients at ln, which it closes, until ctx ends or it fails; then it
// answers what it has read, floods it, waits until the neighbours that are up
// confirm it, for 8 s in all, and returns when all that it started has stopped.
// It returns nil after a complete stop, and an error that says how many records
// could not be handed over after an incomplete one.
func (n *Node) Run(ctx context.Context, ln net.Listener) error {
	if n.traffic != nil {
		defer n.traffic.start()()
	}
	if n.cfg.Journal != nil {
		if err := n.openJournal(); err != nil {
			ln.Close()
			return fmt.Errorf("%s: %w", n.cfg.Name, err)
		}
	}
	support, endSupport := context.WithCancel(context.WithoutCancel(ctx))
	defer endSupport()
	tasks, failed := errgroup.WithContext(support)
	tasks.Go(func() error { return n.cfg.Bus.Run(failed, n) })
	tasks.Go(func() error { n.runFlood(failed); return nil })
	tasks.Go(func() error { n.runPulse(failed); return nil })
	tasks.Go(func() error { n.awaitReady(failed); return nil })
	if n.cfg.Journal != nil {
		tasks.Go(func() error { return n.runJournal(failed) })
	}

	serving, endServing := context.WithCancel(ctx)
	defer endServing()
	defer context.AfterFunc(failed, endServing)()
	err := n.serve(serving, ln)
	endServing() // also if it was the listener that failed: sessions look at it

	stopping := time.Now()
	n.mu.Lock()
	n.stopping = true
	n.mu.Unlock()
	deadline, cancel := context.WithTimeout(failed, grace)
	defer cancel()
	n.endSessions(deadline)
	if failed.Err() == nil {
		err = errors.Join(err, n.handOver(deadline))
	}
	n.sayGoodbye()
	endSupport()
	if err := errors.Join(tasks.Wait(), err); err != nil {
		return fmt.Errorf("%s: %w", n.cfg.Name, err)
	}
	n.log.Info("stopped", "took", time.Since(stopping))
	return nil
}

// awaitReady opens ready when Ready's time has come, or returns when ctx ends.
func (n *Node) awaitReady(ctx context.Context) {
	const look = 5 * time.Millisecond
	began := time.Now()
	if n.cfg.Repair > 0 {
		wait(ctx, n.reached.opened, reaching)
	}
	for greeted := time.Now(); !n.inStep(greeted); {
		if wait(ctx, nil, look); ctx.Err() != nil {
			return
		}
	}
	n.ready.open()
	n.log.Info("ready", "after", time.Since(began), "records", n.records())
	for e := range n.cfg.Neighbours {
		n.beat(e, wire.Beat{}) // they may wait for it
	}
}

// inStep tells whether a server that greeted its neighbours at greeted is in step
// with all of them that live. Beyond a bus that is away none does.
func (n *Node) inStep(greeted time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bus != present || n.replica.Ready(time.Now(), greeted)
}

func (n *Node) records() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Map().Len()
}

// AwaitReady returns when the server is ready for the first time or ctx ends.
func (n *Node) AwaitReady(ctx context.Context) {
	select {
	case <-n.ready.opened:
	case <-ctx.Done():
	}
}

// wait waits until c is closed, for d at most or until ctx ends, and reports
// whether c is.
func wait(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// Ready is nil when the server is ready, and else says why not. A server gets
// ready once it is in step with all neighbours that live; one that has not
// answered a greeting for half a second does not. Where the bus cannot be reached
// it gets ready two seconds after its start, and with repair off at its start.
// Later it is unready while the bus is away, while its clock or a neighbour's is
// far off, and when it stops.
func (n *Node) Ready() error {
	select {
	case <-n.ready.opened:
	default:
		return fmt.Errorf("%s: not yet in step with its neighbours", n.cfg.Name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	off := n.replica.ClockOff()
	switch {
	case n.stopping:
		return fmt.Errorf("%s: stopping", n.cfg.Name)
	case n.journal.failed:
		return fmt.Errorf("%s: the journal fails", n.cfg.Name)
	case n.bus != present:
		return fmt.Errorf("%s: the bus is away", n.cfg.Name)
	case off != "":
		return fmt.Errorf("%s: %s", n.cfg.Name, off)
	}
	return nil
}
