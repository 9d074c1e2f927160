// Package natsbus is the bus over NATS, with the nats.go client: one connection
// a server, reconnecting for ever, and one ordered intake for each neighbour.
//
// Core NATS delivers at most once: Send returning nil says that the message was
// written to the connection, and nothing more. What is lost is found by the
// numbers of the messages, not here.
package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

const (
	intakeMessages = 1024 // that may wait for Receive, a neighbour; each is 32 KB or so at most
	// catchUp is how long reading waits at most for intakes that are more than half
	// full. One read brings some 200 messages of a record each.
	catchUp       = 500 * time.Millisecond
	reconnectWait = 200 * time.Millisecond
	headerSize    = 128         // at most, with the line that NATS puts before headers
	lastFlush     = time.Second // for what was sent before the end of Run
	// askAgainEvery is how often we ask again for what the broker refused of what
	// neighbours say, for one that reads other rules takes subscriptions away and does
	// not give them back; and how often we say that our name is ours.
	askAgainEvery = 5 * time.Second
)

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

// Run connects, and stays connected until ctx ends; then it flushes what was
// sent, closes the connection and returns nil. Before it takes in or lets out
// anything it makes sure that no other process bears this server's name; if one
// does, now or when the bus, or a broker with that process, comes back later, it
// returns bus.ErrNameTaken.
func (b *Bus) Run(ctx context.Context, h bus.Handler) error {
	r := &run{Bus: b, handler: h, link: make(chan bool, 16), taken: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{}),
		peers: b.cfg.peers(), inboxes: map[string]chan *nats.Msg{}, heard: map[string]intake{}, reasons: map[string]bool{}, refused: map[string]bool{},
		denials: denials{by: map[string]*denial{}}}
	for _, peer := range b.cfg.Neighbours {
		r.inboxes[peer] = make(chan *nats.Msg, intakeMessages)
	}
	opts, err := r.options()
	if err != nil {
		return err
	}
	nc, err := nats.Connect(strings.Join(b.cfg.URLs, ","), opts...)
	if err != nil {
		return fmt.Errorf("bus %s: %w", bus.RedactURLs(b.cfg.URLs), err)
	}
	r.nc = nc
	defer r.close()
	return r.serve(ctx)
}

// run is one call of Run.
type run struct {
	*Bus
	nc      *nats.Conn
	handler bus.Handler
	dialled atomic.Pointer[socket] // the last; until nats.go calls it connected nobody but nats.go may write to it

	link   chan bool     // connected, disconnected
	taken  chan struct{} // another process has our name, and stays
	closed chan struct{} // the connection is

	claim   claim
	inboxes map[string]chan *nats.Msg // by neighbour, what waits for Receive; not changed
	heard   map[string]intake         // by subject; of serve's goroutine
	intakes sync.WaitGroup
	done    chan struct{} // closed to end the intakes

	peers   map[string]string // neighbours by the subjects of their edges, both ways; not changed
	denials denials

	mu           sync.Mutex
	reasons      map[string]bool // why connecting failed, since it last worked: each is logged once
	refused      map[string]bool // subscriptions that the broker refused, by subject
	keptOff      error           // why the broker did not let us in, since it last did; nil if it did
	keptOffSince time.Time
}

// intake is where the messages of one subject go.
type intake struct {
	subscription *nats.Subscription
	messages     chan *nats.Msg // of all subjects of its sender
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

func (r *run) options() ([]nats.Option, error) {
	c := r.cfg
	opts := []nats.Option{
		nats.Name(c.Prefix.Connection(c.Server)),
		nats.CustomInboxPrefix(c.Prefix.Inbox(c.Server)),
		nats.NoEcho(), // so that nobody answering our claim means that nobody else is there
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an operator may yet load the right keys
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait/2),
		nats.ReconnectBufSize(-1), // outboxes keep the newest; this would keep the oldest
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.WriteBufferSize(1), // so that publishing writes to the socket, and does not leave it to a flusher
		nats.SetCustomDialer(r),
		nats.FlusherTimeout(stalledWrite),
		nats.ReconnectOnFlusherError(),
		nats.ConnectHandler(r.connected),
		nats.ReconnectHandler(r.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			r.explain(err)
			r.link <- false
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { r.explain(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(r.closed) }),
		nats.ErrorHandler(r.asyncError),
	}
	access, err := c.access()
	return append(opts, access...), err
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

// connected takes note that the last socket that was dialled is a connection.
func (r *run) connected(*nats.Conn) {
	r.socket.Store(r.dialled.Load())
	r.link <- true
}

// explain logs why there is no connection, once for each new reason.
func (r *run) explain(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	known := r.reasons[err.Error()]
	r.reasons[err.Error()] = true
	if refusedEntry(err) && r.keptOff == nil {
		r.keptOff, r.keptOffSince = err, time.Now()
	}
	r.mu.Unlock()
	if known {
		return
	}
	r.cfg.Log.Warn("bus away, trying to reach it", "urls", bus.RedactURLs(r.cfg.URLs), "err", err)
	if refusedEntry(err) {
		r.handler.Trouble("", fmt.Errorf("%w: no entry to the bus: %v", bus.ErrDenied, err))
	}
}

// letIn tells, now that the bus can be told too, that we were kept off it.
func (r *run) letIn() {
	r.mu.Lock()
	why, since := r.keptOff, r.keptOffSince
	r.keptOff = nil
	r.mu.Unlock()
	if why != nil {
		r.handler.Trouble("", fmt.Errorf("%w: kept off the bus for %v: %v", bus.ErrDenied, time.Since(since).Round(time.Millisecond), why))
	}
}

// refusedEntry tells whether the broker is there and won't have us, or shows no
// certificate that we trust.
func refusedEntry(err error) bool {
	var op *net.OpError // so crypto/tls wraps the other end's word that it wants another certificate
	return errors.Is(err, nats.ErrTLS) || errors.As(err, &op) && op.Op == "remote error" ||
		errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

// asyncError takes what nats.go reports outside any call.
func (r *run) asyncError(nc *nats.Conn, sub *nats.Subscription, err error) {
	peer := ""
	if sub != nil {
		peer = r.peers[sub.Subject]
	}
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		r.denied(err)
	case refusedEntry(err) || sub == nil && !nc.IsConnected(): // it comes with each attempt
		r.explain(err)
	case errors.Is(err, nats.ErrSlowConsumer):
		r.handler.Trouble(peer, bus.ErrSlow)
	default:
		r.handler.Trouble(peer, err)
	}
}

// serve follows the connection's ups and downs until ctx ends.
func (r *run) serve(ctx context.Context) error {
	defer r.intakes.Wait()
	defer close(r.done)

	timeout := time.NewTimer(time.Hour)
	timeout.Stop()
	defer timeout.Stop()
	tellAgain, askAgain := time.NewTicker(denialsEvery), time.NewTicker(askAgainEvery)
	defer tellAgain.Stop()
	defer askAgain.Stop()
	answers := make(chan *nats.Msg, 1)
	started := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.closed:
			return fmt.Errorf("bus %s: connection closed: %w", bus.RedactURLs(r.cfg.URLs), r.nc.LastError())
		case <-r.taken:
			return fmt.Errorf("%w: %s", bus.ErrNameTaken, r.cfg.Server)
		case <-tellAgain.C:
			r.tellDenials()
		case <-askAgain.C:
			r.resubscribe()
			if started && r.nc.IsConnected() { // a cut between brokers may have healed, which nobody tells us
				if err := r.announce(answers); err != nil {
					r.cfg.Log.Debug("claim of our name on the bus", "err", err)
				}
			}

		case up := <-r.link:
			if !up {
				timeout.Stop()
				if started {
					r.handler.Connected(false)
				}
				continue
			}
			r.cfg.Log.Info("bus reached", "url", bus.RedactURL(r.nc.ConnectedUrl()))
			r.mu.Lock()
			clear(r.reasons)
			r.mu.Unlock()
			switch err := r.announce(answers); {
			case err != nil:
				r.cfg.Log.Warn("claim of our name on the bus", "err", err)
			case !started:
				timeout.Reset(claimTimeout)
			}
			if started {
				r.flush()
				r.handler.Connected(true)
				r.letIn()
			}

		case m := <-answers: // nobody else listens: the usual case, told by the broker at once
			if m.Header.Get("Status") != "503" || started {
				continue
			}
			timeout.Reset(0)

		case <-timeout.C: // nobody else spoke up: the name is ours
			r.claim.hold()
			if err := r.takeIn(); err != nil {
				return err
			}
			service, err := r.serveTools()
			if err != nil {
				return err
			}
			defer service.Stop()
			r.flush()
			started = true
			r.conn.Store(r.nc)
			r.handler.Connected(true)
			r.letIn()
		}
	}
}

// takeIn subscribes to all that neighbours say to us, one ordered intake a
// neighbour: nats.go puts the messages of all its subscriptions into one channel
// as they come off the wire.
func (r *run) takeIn() error {
	for _, peer := range r.cfg.Neighbours {
		messages := r.inboxes[peer]
		lanes := map[string]bus.Lane{}
		for _, lane := range bus.Lanes {
			subject := r.cfg.Prefix.Between(lane, peer, r.cfg.Server)
			lanes[subject] = lane
			if err := r.hear(subject, messages); err != nil {
				return fmt.Errorf("subscribe %s: %w", subject, err)
			}
		}
		r.intakes.Go(func() {
			for {
				select {
				case m := <-messages:
					if header := madeByBroker(m.Header); header != "" {
						r.deny(m.Subject, fmt.Sprintf("dropped a message on %q: its header %s shows that a broker made it", m.Subject, header))
						continue
					}
					r.handler.Receive(bus.Message{
						Lane: lanes[m.Subject], Peer: peer, Data: m.Data,
						Epoch: number(m.Header, bus.EpochHeader), Seq: number(m.Header, bus.SeqHeader),
					})
				case <-r.done:
					return
				}
			}
		})
	}
	return nil
}

// awaitRoom returns when no intake is crowded, or after catchUp. nats.go drops what
// finds its intake full, and reads a thousand messages faster than another goroutine
// is given a processor where those are scarce. What is not read yet the broker keeps.
func (r *run) awaitRoom() {
	const look = time.Millisecond
	for began := time.Now(); r.crowded() && time.Since(began) < catchUp; {
		select {
		case <-time.After(look):
		case <-r.done: // nobody takes anything out any more
			return
		}
	}
}

func (r *run) crowded() bool {
	for _, messages := range r.inboxes {
		if len(messages) > intakeMessages/2 {
			return true
		}
	}
	return false
}

// hear subscribes to one subject of a neighbour.
func (r *run) hear(subject string, messages chan *nats.Msg) error {
	s, err := r.nc.ChanSubscribe(subject, messages)
	if err == nil {
		r.heard[subject] = intake{s, messages}
	}
	return err
}

// flush returns once the broker knows what we subscribed to, so that nothing that
// neighbours send from then on passes us by. Should that fail, the connection is
// about to be lost and made again.
func (r *run) flush() {
	if err := r.nc.FlushTimeout(stalledWrite); err != nil {
		r.cfg.Log.Warn("subscribing", "err", err)
	}
}

// number reads a header; what is missing or no number is 0, which says "none".
func number(h nats.Header, key string) uint64 {
	n, err := strconv.ParseUint(h.Get(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// close flushes and closes the connection and waits until it is closed.
func (r *run) close() {
	if r.nc.IsConnected() {
		if err := r.nc.FlushTimeout(lastFlush); err != nil {
			r.cfg.Log.Warn("last flush to the bus", "err", err)
		}
	}
	r.nc.Close()
	<-r.closed
}
