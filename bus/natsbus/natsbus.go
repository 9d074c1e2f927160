// Package natsbus is the bus over NATS, with the nats.go client. Each server has one
// connection, and makes a new one without end when it is lost. All messages arrive on it,
// in one order.
//
// Core NATS delivers at most once. When Send returns nil, the messages were written to
// the connection; nothing else is known. The receiver finds lost messages by their
// sequence numbers.
//
// # Parts
//
// run.go makes connections, one after the other, each a nats.Conn that does not
// reconnect by itself. So all errors that end one are the same to us, and each new one
// begins with the keys and certificates of that moment (identity.go). brokers.go says which
// broker is next. connection.go is one connection: it makes sure that only one process has
// the server's name (namelease.go), subscribes (subscriptions.go) to the subjects of the
// edges (edges.go), and tells the handler about connects and disconnects (link.go).
// denied.go reports what the broker denied, and problem.go says what is wrong at present.
// probe.go finds out whether a limit of the broker still applies.
//
// publisher.go writes messages, and reader.go receives them; socket.go is the
// connection that both work on, below nats.go.
//
// service.go answers requests of tools, and streamrequest.go takes those about streams.
//
// The other side, for tools: tool.go sends single requests, requester.go many to one endpoint,
// and follow.go follows a stream. toolsession.go is a connection that lasts.
//
// # Locks
//
// nats.go holds its lock (nc.mu) during a dial and a handshake. There it calls our Dial,
// and Read and Write of our socket. So the lock order is
//
//	nc.mu, then reader.mu, then socket.mu
//
// A goroutine that holds reader.mu or socket.mu must not wait for nc.mu. The handler runs
// with reader.mu held, and it publishes. Therefore the publisher never waits for nc.mu
// without a limit. Each connection has a reader of its own, and the next one is not made
// while the handler still runs for the last.
//
// link.mu is held while the handler's Connected runs. So it is taken before the other
// locks, never after them. Bus.mu, run.mu and problems.mu are held for moments only.
package natsbus

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nkeys"

	"herd/bus"
)

// Config describes one server's connection to the bus.
type Config struct {
	URLs       []string
	Prefix     bus.Prefix
	Server     string
	Neighbours []string
	Epoch      uint64 // of this process's server; tells apart two processes of one name

	// Our credentials, one of these or none: an nkey in memory, a file with an nkey's
	// seed, a file with NATS credentials.
	User          nkeys.KeyPair
	Seed, Creds   string
	CA, Cert, Key string // files for TLS; each may be missing

	Service Service

	Log *slog.Logger
}

// Bus is one server's place on the bus. It does nothing before Run.
type Bus struct {
	cfg       Config
	edges     atomic.Pointer[edges] // the present ones
	publisher publisher
	problems  *problems
	shared    atomic.Bool // JoinShared was called

	mu         sync.Mutex
	neighbours []string
	muted      []string  // see Mute
	identity   *identity // the last that could be read; nil before the first
	used       *identity // of the present connection or the last; nil before the first
	running    *run      // nil while Run does not run
}

// New makes a Bus. It reads no file and opens no connection.
func New(cfg Config) *Bus {
	b := &Bus{cfg: cfg, publisher: newPublisher(), problems: newProblems(), neighbours: slices.Clone(cfg.Neighbours)}
	b.edges.Store(newEdges(cfg, b.neighbours, nil))
	return b
}

// Run connects, and reconnects, until ctx ends; then it flushes what was sent, closes
// the connection and returns nil. Before it subscribes or publishes to neighbours it
// makes sure that no other process has this server's name. If one does, it returns
// bus.ErrNameTaken: at the start, or later, when it reconnects or a broker with that
// process does. It also returns an error at once if a URL is malformed, or a file of keys
// cannot be used.
func (b *Bus) Run(ctx context.Context, h bus.Handler) error {
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	r, err := newRun(running, end, b, h)
	if err != nil {
		return err
	}
	b.setRunning(r)
	defer b.setRunning(nil)
	defer context.AfterFunc(running, r.abortDial)()
	err = r.serve()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (b *Bus) setRunning(r *run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = r
}

// Send writes messages to the connection, in their order and in one write, and keeps no
// hold on their data. It waits a tenth of a second at most for the broker to take them,
// and no longer for another write that is under way. Its errors say what became of the
// messages: bus.ErrDisconnected and bus.ErrTooLarge, that none was or will be sent;
// bus.ErrUncertain, that any of them may have been, or may be yet; bus.ErrNoEdge, that
// those to servers that are no neighbours were left out, and all others were written.
func (b *Bus) Send(ms ...bus.Message) error {
	if b.problems.publishing.Load() { // first: a refusal that comes during the write is of this try
		for _, m := range ms {
			b.problems.try(refusal{true, b.subject(m)})
		}
	}
	return b.publisher.publish(b.subject, ms...)
}

// PublishEvent publishes an event for people: one line of text, of a kind and about a
// peer, "" for none. It blocks no longer than Send, and has the same errors.
func (b *Bus) PublishEvent(kind, peer, text string) error {
	subject := b.cfg.Prefix.Event(b.cfg.Server, kind, peer)
	return b.publisher.publish(func(bus.Message) string { return subject }, bus.Message{Data: []byte(text)})
}

// MaxData is how many bytes of data a message may have. It never blocks. The limit may
// change with the broker, and while connected when the broker announces another one.
func (b *Bus) MaxData() int { return b.publisher.maxData() }
