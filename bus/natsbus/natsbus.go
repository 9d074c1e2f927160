// Package natsbus is the bus over NATS, with the nats.go client. Each server has one
// connection, which reconnects without end. All messages arrive on it, in one order.
//
// Core NATS delivers at most once. When Send returns nil, the messages were written to
// the connection; nothing else is known. The receiver finds lost messages by their
// sequence numbers.
//
// # Parts
//
// control.go follows the connection. It makes sure that only one process has the server's
// name (namelease.go), subscribes, tells the handler about connects and disconnects
// (link.go), and reports what the broker denied (denied.go).
//
// publisher.go writes messages, and reader.go receives them; socket.go is the
// connection that both work on, below nats.go.
//
// service.go answers requests of tools.
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
// without a limit. nats.go also begins no handshake on a new connection while the
// goroutine that reads from the old one still runs: TestReconnectWaitsForReader pins that.
//
// link.mu is held while the handler's Connected runs. So it is taken before the other
// locks, never after them.
package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"
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
	subjects  map[edge]string // on which we publish; not changed
	publisher publisher
}

// edge is a neighbour, and the kind of message that goes to it or comes from it.
type edge struct {
	peer string
	lane bus.Lane
}

// New makes a Bus. It reads no file and opens no connection.
func New(cfg Config) *Bus {
	b := &Bus{cfg: cfg, subjects: map[edge]string{}, publisher: newPublisher()}
	for _, peer := range cfg.Neighbours {
		for _, lane := range bus.Lanes {
			b.subjects[edge{peer, lane}] = cfg.Prefix.Between(lane, cfg.Server, peer)
		}
	}
	return b
}

// Run connects, and reconnects, until ctx ends; then it flushes what was sent, closes
// the connection and returns nil. Before it subscribes or publishes to neighbours it
// makes sure that no other process has this server's name. If one does, it returns
// bus.ErrNameTaken: at the start, or later, when it reconnects or a broker with that
// process does.
func (b *Bus) Run(ctx context.Context, h bus.Handler) error {
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	r := newRun(running, end, b, h)
	opts, err := r.options()
	if err != nil {
		return err
	}
	defer context.AfterFunc(running, r.abortDial)()
	nc, err := nats.Connect(strings.Join(b.cfg.URLs, ","), opts...)
	if err != nil {
		return fmt.Errorf("bus %s: %w", bus.RedactURLs(b.cfg.URLs), err)
	}
	r.nc = nc
	defer r.close()
	err = r.serve()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Send writes messages to the connection, in their order and in one write, and keeps no
// hold on their data. It waits a tenth of a second at most for the broker to take them,
// and no longer for another write that is under way. Its errors say what became of the
// messages: bus.ErrDisconnected and bus.ErrTooLarge, that none was or will be sent;
// bus.ErrUncertain, that any of them may have been, or may be yet.
func (b *Bus) Send(ms ...bus.Message) error {
	return b.publisher.publish(func(m bus.Message) string { return b.subjects[edge{m.Peer, m.Lane}] }, ms...)
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

// peers is the neighbour at the other end, by subject, both ways.
func (c Config) peers() map[string]string {
	peers := map[string]string{}
	for _, peer := range c.Neighbours {
		for _, lane := range bus.Lanes {
			peers[c.Prefix.Between(lane, peer, c.Server)] = peer
			peers[c.Prefix.Between(lane, c.Server, peer)] = peer
		}
	}
	return peers
}

// credentials is what to show to the broker.
func (c Config) credentials() (opts []nats.Option, err error) {
	if c.User != nil {
		public, err := c.User.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		opts = append(opts, nats.Nkey(public, c.User.Sign))
	}
	if c.Seed != "" {
		nkey, err := nats.NkeyOptionFromSeed(c.Seed)
		if err != nil {
			return nil, fmt.Errorf("nkey seed %s: %w", c.Seed, err)
		}
		opts = append(opts, nkey)
	}
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.CA != "" {
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Cert != "" {
		opts = append(opts, nats.ClientCert(c.Cert, c.Key))
	}
	return opts, nil
}
