package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"herd/bus/batch"
	"herd/node/replica"
	"herd/places"
)

// Config describes one server. Name, Limits, Bus, Places and Log must be set. Epoch must
// differ from that of earlier runs.
type Config struct {
	Name       string
	Neighbours []string
	Adjacent   func(a, b string) bool // of the topology
	Topology   uint64                 // hash of the topology, which neighbours compare
	Epoch      uint64                 // identifies this run of the server
	Limits     Limits
	Repair     time.Duration // interval of scheduled comparisons of maps; 0 turns all repair off
	Keep       time.Duration // after which records expire, in whole seconds; 0 for never
	LogDir     string        // existing directory for the traffic log; "" for none
	TLS        *tls.Config   // of the connections of clients; nil for plain TCP
	Binding    *Binding      // of reports to the certificates of clients; nil for none
	// Proxies are networks whose connections begin with a header of the PROXY protocol, v1
	// or v2, before TLS. The client's address is then the one in the header.
	Proxies []netip.Prefix

	Bus     Bus
	Journal Journal // nil for none
	Places  places.Source
	Log     *slog.Logger

	// Reload makes the process read its files again, and returns what changed.
	Reload func() (changes []string, err error)
}

// Limits bound what clients may do. They do not apply to neighbours, or the maps of a
// herd would differ.
type Limits struct {
	Line  int // bytes of a line, without its LF
	Conns int // open connections; half of that from one address
	// ConnRate is how often one address may connect in a second; 0 for no limit. For it and
	// Conns an IPv6 network of 64 bits is one address; loopback addresses have no limit.
	ConnRate int
	Files    int // open connections that the process has file descriptors for: further clients wait; 0 for no limit
	Clients  int // clients in the map; reports of further ones are refused
	// MapBytes is the memory of the map. At this size it takes no new clients, also not from
	// neighbours; 0 for no limit.
	MapBytes int64
	// Handshake is how long a PROXY header and a TLS handshake may take together. At most a
	// quarter of all connections may be in that state; beyond it, the oldest are closed.
	Handshake time.Duration
	Idle      time.Duration // without a complete line
	Write     time.Duration // in which the client takes nothing of a reply
}

// Node is one server of a herd.
//
// Lock order: topologyChange, the flood's token (flood.go), then Node.mu, then the lock of a
// ratenote.Limiter in the replica. A lookup's lock, and that of nearby, are taken before
// Node.mu. No other two locks are held at the same time.
type Node struct {
	cfg Config
	log *slog.Logger

	mu sync.Mutex // guards state
	state

	flood    flooder
	requests requests
	streams  streams
	journal  *journalWriter // nil for none
	clients  clients
	events   *events

	handshakes handshakes
	refusals   refusals
	traffic    *trafficLog // nil for none

	buffers   sync.Pool         // of exchanges that no session uses
	latencies [commands]latency // of replies
	panics    atomic.Uint64     // recovered

	toolRequests requestLimits // of tools
	nearby       nearby        // requests of who is near

	lookups    context.Context // ends when a stop has no more time for lookups of places
	endLookups context.CancelFunc

	connected gate // opens when the bus was first connected
	ready     gate // opens when the server is first in step

	expiry chan struct{} // wakes runExpiry; capacity 1

	readinessChanged chan struct{} // makes runHeartbeats look at once; capacity 1
	readiness        readinessLog

	topologyChange sync.Mutex // held by SetTopology: one change at a time. It is taken before all other locks
}

// state is what Node.mu guards. The lock is never held across a send, a write or a log
// call.
type state struct {
	replica *replica.Replica
	bus     busState
	// strangers are servers that are no neighbours of ours and send us heartbeats, with the
	// time of our last answer.
	strangers map[string]time.Time
	muted     []string // neighbours in quarantine, as the bus knows them

	stopping bool // no new commands are read
	// stopRequested is not nil once the server shall stop. Run sets the function at its start.
	stopRequested func() error
	silent        bool // we have said goodbye: nothing more goes to neighbours

	batch        batch.Batcher // decides when sessions flush
	flushed      waitQueue     // sessions that wait for the flood, by replica.FloodSeq
	flushFailed  bool          // the last flush could not send everything
	forwardTimer bool          // the timer for replica.ForwardTick is set

	journalled    waitQueue // sessions that wait for the journal, by replica.JournalSeq
	journalDamage []string  // what could not be read at the start
	journalFailed bool      // the last append failed
	unsavedSince  time.Time // the oldest record that is not in the journal was queued then or later; zero: all are in it
	stopBy        time.Time // the end of a stop that has begun
	lingering     bool      // the journal's writer lets records gather; only waiters wake it

	merged []mergedRecord // since the lock was taken, for the trace; see trace.go
}

// busState is the state of the connection to the bus.
type busState uint8

const (
	neverConnected busState = iota
	connected
	disconnected
)

// New makes a server. It starts nothing and does no I/O.
func New(cfg Config) *Node {
	n := &Node{
		cfg:       cfg,
		log:       cfg.Log.With("node", cfg.Name),
		clients:   newClients(cfg.Limits),
		events:    newEvents(),
		connected: newGate(),
		ready:     newGate(),

		expiry:           make(chan struct{}, 1),
		streams:          streams{wake: make(chan struct{}, 1)},
		readinessChanged: make(chan struct{}, 1),
		readiness:        readinessLog{began: time.Now()},
	}
	n.handshakes.most = max(1, n.clients.most()/handshakeShare)
	n.toolRequests = newRequestLimits()
	n.buffers.New = newExchange
	n.replica = replica.New(replica.Config{
		Name: cfg.Name, Topology: replica.Topology{Neighbours: cfg.Neighbours, Adjacent: cfg.Adjacent, Hash: cfg.Topology}, Epoch: cfg.Epoch,
		MaxClients: cfg.Limits.Clients, MaxBytes: cfg.Limits.MapBytes, Repair: cfg.Repair, Keep: cfg.Keep, Journal: cfg.Journal != nil, OnMerge: n.traceMerges(),
		OnStream: func() { signal(n.streams.wake) },
	})
	n.flood = newFlooder()
	n.requests = newRequests()
	n.batch = batch.New(batch.Policy{MaxDelay: maxBatchDelay, Busy: busyRecords, Full: batchRecords})
	if cfg.Journal != nil {
		n.journal = newJournalWriter(cfg.Journal)
	}
	n.lookups, n.endLookups = context.WithCancel(context.Background())
	if cfg.LogDir != "" {
		n.traffic = newTrafficLog(cfg.LogDir, cfg.Name, n.log)
	}
	return n
}

// Run serves clients at ln, which it closes, until ctx ends or it fails. Then it answers
// what it has read, floods it, and waits until the neighbours that are up confirm it, for
// 8 s in all. It returns when everything that it started has stopped: nil after a
// complete stop, else an error that says how many records could not be handed over.
//
// Run has two stages. Serving (the listener and its sessions) runs inside support (bus,
// flood, heartbeats, journal, traffic log). Serving ends first.
func (n *Node) Run(ctx context.Context, ln net.Listener) error {
	n.mu.Lock()
	n.stopRequested = ctx.Err
	n.mu.Unlock()
	if n.traffic != nil {
		defer n.traffic.start()()
	}
	if n.journal != nil {
		if err := n.replayJournal(); err != nil {
			ln.Close()
			return fmt.Errorf("%s: %w", n.cfg.Name, err)
		}
	}
	support, endSupport := context.WithCancel(context.WithoutCancel(ctx))
	defer endSupport()
	tasks, failed := errgroup.WithContext(support)
	tasks.Go(func() error { return n.cfg.Bus.Run(failed, n) })
	tasks.Go(func() error { n.runFlood(failed); return nil })
	tasks.Go(func() error { n.runReplies(failed); return nil })
	tasks.Go(func() error { n.runStreams(failed); return nil })
	tasks.Go(func() error { n.runExpiry(failed); return nil })
	tasks.Go(func() error { n.runHeartbeats(failed); return nil })
	tasks.Go(func() error { n.awaitInStep(failed); return nil })
	if n.journal != nil {
		tasks.Go(func() error { return n.runJournal(failed) })
	}

	serving, endServing := context.WithCancel(ctx)
	defer endServing()
	defer context.AfterFunc(failed, endServing)()
	err := n.serve(serving, ln)
	endServing() // if it was the listener that failed, sessions must stop too

	began := time.Now()
	err = errors.Join(err, n.shutDown(failed))
	endSupport()
	if err := errors.Join(tasks.Wait(), err); err != nil {
		return fmt.Errorf("%s: %w", n.cfg.Name, err)
	}
	n.log.Info("stopped", "took", time.Since(began))
	return nil
}

// locked calls do with the lock held. A panic in do leaves the lock free.
func (n *Node) locked(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	do()
}

// wait waits until c is closed or has a value, for d at most or until ctx ends. It
// reports whether c did.
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

// signal puts a value into a channel of capacity 1 whose receiver looks at everything
// that there is to do each time.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
