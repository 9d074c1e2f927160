// Package natsbus is the bus over NATS, with the nats.go client: one connection
// a server, reconnecting for ever, and one ordered intake.
//
// Core NATS delivers at most once: Send returning nil says that the message was
// written to the connection, and nothing more. What is lost is found by the
// numbers of the messages, not here.
package natsbus

import (
	"fmt"
	"log/slog"
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

// Bus is one server's place on the bus. It does nothing before Run.
type Bus struct {
	cfg      Config
	subjects map[edge]string           // on which we speak; not changed
	conn     atomic.Pointer[nats.Conn] // set once Run has a connection
	socket   atomic.Pointer[socket]    // of the present connection, or the last; nil for none
}

// edge is a neighbour, and what is said on the edge to it or from it.
type edge struct {
	peer string
	lane bus.Lane
}

// New makes a Bus. It reads no file and opens no connection.
func New(cfg Config) *Bus {
	b := &Bus{cfg: cfg, subjects: map[edge]string{}}
	for _, peer := range cfg.Neighbours {
		for _, lane := range bus.Lanes {
			b.subjects[edge{peer, lane}] = cfg.Prefix.Between(lane, cfg.Server, peer)
		}
	}
	return b
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
