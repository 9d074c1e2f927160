package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"herd/bus"
)

const (
	// finalFlush is how long a stop waits for the broker to take what was sent.
	finalFlush = time.Second
	// pollEvery is how often we look for what nats.go has no callback for.
	pollEvery = time.Second
	// refreshEvery is how often we subscribe again to what the broker refused, for a broker
	// that reloads its rules takes subscriptions away and does not give them back; and how
	// often we announce that our name is ours.
	refreshEvery = 5 * time.Second
	// payloadRefreshes of refreshEvery is how often we look whether a broker that takes less
	// than the usual takes more now.
	payloadRefreshes = 3
	// edgesTimeout is how long SetNeighbours waits for the broker.
	edgesTimeout = 2 * time.Second
	// answerTimeout is how long a reconnect waits for the replies to requests. The slowest
	// request is a reload of the topology: it takes a little more than 10 s.
	answerTimeout = 15 * time.Second
)

// connection is one connection to a broker. When it is lost, run makes another one.
type connection struct {
	*run
	attempt
	number int // of link
	nc     *nats.Conn
	reader *reader

	service   micro.Service
	hasShared bool // the service has its shared endpoints; of serve's goroutine

	identity  *identity     // that it was made with
	answering atomic.Int32  // requests that are being answered
	answered  chan struct{} // receives a token when they all have their replies
	busy      *rate.Limiter // of answers that say that there are too many requests

	socket     *socket       // nil until it was dialled
	dialFailed error         // why it was not
	closing    atomic.Bool   // we close it
	lost       chan struct{} // closed when the connection is lost or closed
	failed     error         // why it was lost, nil if we closed it; set before lost is closed

	subscriptions map[string]*nats.Subscription // to messages of neighbours, by subject; of serve's goroutine
}

func newConnection(r *run, a attempt) *connection {
	return &connection{
		run: r, attempt: a, number: r.link.begin(), reader: newReader(r.Bus, r.handler, r.deny),
		answered: make(chan struct{}, 1), busy: rate.NewLimiter(busyAnswers, busyAnswers), lost: make(chan struct{}), subscriptions: map[string]*nats.Subscription{},
	}
}

func (c *connection) options(id *identity) []nats.Option {
	opts := append(dataPathOptions(c), c.attempt.options()...)
	opts = append(opts, id.options...)
	return append(opts,
		nats.Name(c.cfg.Prefix.Connection(c.cfg.Server)),
		nats.CustomInboxPrefix(c.cfg.Prefix.Inbox(c.cfg.Server)),
		nats.NoEcho(), // so that an unanswered claim means that no other process has the name
		nats.PingInterval(2*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if !c.closing.Load() {
				c.failed = cmp.Or(nc.LastError(), errLost)
			}
			c.link.disconnected(c.number)
			close(c.lost)
		}),
		nats.ErrorHandler(c.asyncError),
	)
}

// dataPathOptions are the options that socket, publisher and reader depend on. What they
// need of nats.go itself, the tests of pinned_test.go hold.
func dataPathOptions(dialer nats.CustomDialer) []nats.Option {
	return []nats.Option{
		nats.SetCustomDialer(dialer),
		nats.SkipHostLookup(),   // Dial does it, for the lookup may take long and must end with Run
		nats.WriteBufferSize(1), // write each message to the socket when it is published, and not later by the flusher
		nats.NoReconnect(),
		nats.FlusherTimeout(stallTimeout),
		nats.ReconnectOnFlusherError(), // an error of the flusher ends the connection
	}
}

// Dial is nats.CustomDialer. nats.go calls it once, with nc.mu held: see the package's
// comment on locks.
func (c *connection) Dial(network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: c.patience}
	conn, err := dialer.DialContext(c.ctx, network, address)
	if err != nil {
		c.dialFailed = err
		return nil, err
	}
	s := newSocket(conn)
	s.beforeRead, s.shaking = func() { c.reader.drain(s) }, true
	c.socket = s
	c.handshaking.Store(s)
	if c.ctx.Err() != nil { // abortDial may have come too early for s
		s.Close()
	}
	return s, nil
}

// asyncError takes what nats.go reports outside any call.
func (c *connection) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	peer := ""
	if sub != nil {
		peer = c.edges.Load().peers[sub.Subject]
	}
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		c.permissionDenied(err)
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		c.problems.tooMany()
		c.logConnectError("NATS subscription refused, retrying", err)
	case accessDenied(err) || reason(err) != "": // the connection ends
		c.logConnectError("NATS disconnected", err)
	case errors.Is(err, nats.ErrSlowConsumer) && sub != nil && sub.Subject == c.reader.strangers:
		c.cfg.Log.Debug("heartbeats of other servers were lost", "err", err)
	case errors.Is(err, nats.ErrSlowConsumer) && sub != nil && c.isEndpoint(sub.Subject):
		c.cfg.Log.Debug("requests of tools were dropped", "err", err)
	case errors.Is(err, nats.ErrSlowConsumer):
		c.handler.AsyncError(peer, bus.ErrSlow)
	default:
		c.handler.AsyncError(peer, err)
	}
}

// serve acquires the server's name, subscribes, and serves until the connection is lost or
// we are to reconnect; then it returns nil. It returns the cause of r.ctx when that ends, or
// why serving could not begin.
func (c *connection) serve() error {
	if err := c.begin(); err != nil {
		switch {
		case c.ctx.Err() != nil:
			return context.Cause(c.ctx)
		case c.nc.IsClosed():
			<-c.lost
			return nil
		}
		return err
	}
	began, refreshed := time.Now(), 0
	refresh, poll := time.NewTicker(refreshEvery), time.NewTicker(pollEvery)
	defer refresh.Stop()
	defer poll.Stop()
	var deadline <-chan time.Time // ends the wait for replies; nil while we are not to reconnect
	probed := make(chan bool, 1)  // what a probe has found
	probing := false
	for {
		select {
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-c.lost:
			return nil
		case <-c.renew:
			if c.answering.Load() == 0 {
				return nil
			}
			if deadline == nil {
				deadline = time.After(answerTimeout)
			}
		case <-c.answered:
			if deadline != nil && c.answering.Load() == 0 {
				return nil
			}
		case <-deadline:
			return nil
		case better := <-probed:
			if probing = false; better {
				return nil
			}
		case <-c.edgesNew:
			c.applyEdges()
		case <-c.sharedNew:
			if err := c.addShared(); err != nil {
				c.cfg.Log.Debug("not subscribed", "err", err) // the connection is lost
			}
		case <-refresh.C:
			refreshed++
			if look := c.doubted(refreshed%payloadRefreshes == 0); look != nil && !probing {
				probing = true
				go func() { probed <- c.probe(look) }()
			}
			c.resubscribe()
			c.republish()
			c.name.announce(c.nc)
		case <-poll.C:
			c.brokers.advertise(c.nc.DiscoveredServers())
			c.publisher.maxPayload.Store(c.nc.MaxPayload())
			c.problems.setMaxPayload(c.nc.MaxPayload())
			c.problems.settle(func() error { return c.flush(pollEvery) })
			if time.Since(began) >= shortLived {
				c.problems.lasts()
			}
		}
	}
}

// begin takes the server's name, subscribes to everything, and tells the handler.
func (c *connection) begin() error {
	scheme, _, _ := strings.Cut(c.url, "://")
	_, err := c.nc.TLSConnectionState()
	c.socket.plain.Store(scheme == "nats" && errors.Is(err, nats.ErrConnectionNotTLS) && c.nc.HeadersSupported())
	c.publisher.maxPayload.Store(c.nc.MaxPayload())
	c.brokers.advertise(c.nc.DiscoveredServers())
	c.problems.connected(bus.RedactURL(c.url), c.nc.HeadersSupported(), c.nc.MaxPayload())
	if c.brokers.short == 0 {
		c.problems.lasts()
	}
	c.forgetConnectErrors()
	c.cfg.Log.Info("NATS connected", "url", bus.RedactURL(c.url))
	if !c.nc.HeadersSupported() {
		c.cfg.Log.Error("NATS broker has no support for message headers", "url", bus.RedactURL(c.url), "hint", headersHint)
	}
	if err := c.name.acquire(c.ctx, c.nc, c.lost); err != nil {
		return err
	}
	if err := c.syncSubscriptions(); err != nil {
		return err
	}
	if err := c.addService(); err != nil {
		return err
	}
	if _, err := c.nc.ChanSubscribe(c.reader.strangers, c.reader.messages); err != nil {
		return fmt.Errorf("subscribe %s: %w", c.reader.strangers, err)
	}
	c.publisher.socket.Store(c.socket)
	c.publisher.conn.Store(c.nc)
	// Now we miss nothing that neighbours send from then on. If this fails, the connection is
	// lost soon.
	if err := c.flush(stallTimeout); err != nil && c.ctx.Err() == nil && !c.nc.IsClosed() {
		c.cfg.Log.Warn("NATS has not confirmed the subscriptions yet: messages may be missed until it does", "err", err)
	}
	if c.link.report(c.number) {
		c.reportAccess()
	}
	return nil
}

// flush waits until the broker has handled all that was sent.
func (c *connection) flush(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(c.ctx, timeout)
	defer cancel()
	return c.nc.FlushWithContext(ctx)
}

// close closes the connection and waits until the handler runs no more. It flushes what
// was sent, where it can.
func (c *connection) close() {
	c.publisher.conn.Store(nil) // so that nothing is sent of which nobody knows whether it leaves
	c.reader.close()
	if !c.nc.IsClosed() {
		if err := c.nc.FlushTimeout(finalFlush); err != nil {
			c.cfg.Log.Warn("NATS did not confirm the last messages before the connection was closed: they may be lost", "err", err)
		}
	}
	c.closing.Store(true)
	c.nc.Close()
	<-c.lost
}

// open connects to one broker. nats.Connect would take a comma in a password for the end of
// a URL.
func open(url string, opts []nats.Option) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	o.Servers = []string{url}
	for _, set := range opts {
		if err := set(&o); err != nil {
			return nil, err
		}
	}
	return o.Connect()
}
