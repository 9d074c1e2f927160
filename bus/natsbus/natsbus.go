// Package natsbus is the bus over NATS, with the nats.go client: one connection
// a server, reconnecting for ever, and one ordered intake for each neighbour.
//
// Core NATS delivers at most once: Send returning nil says that the message was
// written to the connection, and nothing more. What is lost is found by the
// numbers of the messages, not here.
package natsbus

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"herd/bus"
)

// Config is where the bus is and who we are on it.
type Config struct {
	URLs       []string
	Prefix     bus.Prefix
	Server     string
	Neighbours []string
	Epoch      uint64 // this life of the server, for telling apart two processes of one name

	// Who we are to the broker, one of these or none: an nkey in memory, a file with
	// the seed of one, a file with NATS credentials.
	User          nkeys.KeyPair
	Seed, Creds   string
	CA, Cert, Key string // files for TLS; each may be missing

	Service Service

	Log *slog.Logger
}

// headerSize is what headers take at most, with the line that NATS puts before them.
const headerSize = 128

// Bus is one server's place on the bus. It does nothing before Run.
type Bus struct {
	cfg    Config
	conn   atomic.Pointer[nats.Conn] // set once Run has a connection
	socket atomic.Pointer[socket]    // of the present connection, or the last; nil for none
}

// New makes a Bus. It reads no file and opens no connection.
func New(cfg Config) *Bus { return &Bus{cfg: cfg} }

// Send writes messages to the connection, in their order and in one write. It
// returns bus.ErrAway while there is no connection or the broker takes nothing, and
// bus.ErrTooLarge for a message beyond MaxData; after an error none counts as sent,
// though some may have been. It keeps no hold on the messages' data. It blocks for a
// tenth of a second at most.
func (b *Bus) Send(ms ...bus.Message) error {
	return b.inOneWrite(func() error {
		for _, m := range ms {
			if err := b.publish(b.encode(m)); err != nil {
				return err
			}
		}
		return nil
	})
}

// inOneWrite calls publish and lets what it published leave at once.
func (b *Bus) inOneWrite(publish func() error) error {
	s := b.socket.Load()
	if s == nil {
		return bus.ErrAway
	}
	if err := s.cork(); err != nil {
		return fmt.Errorf("%w: %v", bus.ErrAway, err)
	}
	err := publish()
	if failed := s.uncork(); failed != nil && err == nil {
		err = fmt.Errorf("%w: %v", bus.ErrAway, failed)
	}
	return err
}

func (b *Bus) encode(m bus.Message) *nats.Msg {
	msg := &nats.Msg{Subject: b.cfg.Prefix.Between(m.Lane, b.cfg.Server, m.Peer), Data: m.Data}
	if m.Epoch != 0 {
		msg.Header = nats.Header{
			bus.EpochHeader: {strconv.FormatUint(m.Epoch, 10)},
			bus.SeqHeader:   {strconv.FormatUint(m.Seq, 10)},
		}
	}
	return msg
}

// MaxData is how many bytes of data a message may have.
func (b *Bus) MaxData() int {
	const stock = 1 << 20 // of a NATS server whose configuration says nothing
	nc := b.conn.Load()
	if nc == nil {
		return stock
	}
	return int(nc.MaxPayload()) - headerSize
}

// Notify publishes an event for people: text, one line, of a kind and about a
// peer, or "" for none. While the bus is away it is dropped, with an error.
func (b *Bus) Notify(kind, peer, text string) error {
	return b.inOneWrite(func() error {
		return b.publish(&nats.Msg{Subject: b.cfg.Prefix.Event(b.cfg.Server, kind, peer), Data: []byte(text)})
	})
}

func (b *Bus) publish(m *nats.Msg) error {
	nc := b.conn.Load()
	if nc == nil {
		return bus.ErrAway
	}
	switch err := nc.PublishMsg(m); {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %d bytes on %s", bus.ErrTooLarge, len(m.Data), m.Subject)
	default:
		return fmt.Errorf("%w: %v", bus.ErrAway, err)
	}
}

// peers is who is at the other end, by subject.
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

// access is how to get in.
func (c Config) access() (opts []nats.Option, err error) {
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
