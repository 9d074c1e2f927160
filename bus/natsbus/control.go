package natsbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/ratenote"
)

const (
	reconnectWait = 200 * time.Millisecond
	// finalFlush is how long a stop waits for the broker to take what was sent.
	finalFlush = time.Second
	// refreshEvery is how often we subscribe anew to what the broker refused, for a broker
	// that reloads its rules takes subscriptions away and does not give them back; and how
	// often we announce that our name is ours.
	refreshEvery = 5 * time.Second
)

// run is one call of Run.
type run struct {
	*Bus
	handler bus.Handler
	ctx     context.Context         // ends with Run
	end     context.CancelCauseFunc // ends it
	nc      *nats.Conn              // set once nats.Connect has returned
	closed  chan struct{}           // closed when the connection is, for good

	// dialled is the connection that was dialled last. Until nats.go calls it connected,
	// nats.go alone writes to it.
	dialled atomic.Pointer[socket]

	link          *link
	reader        *reader
	subscriptions map[string]*nats.Subscription // to messages of neighbours, by subject; of serve's goroutine
	peers         map[string]string             // neighbours by the subjects of their edges, both ways; not changed
	denials       ratenote.Limiter              // by subject

	mu            sync.Mutex
	connectErrors map[string]bool // that were logged since we were last connected
	refused       map[string]bool // subjects of subscriptions that the broker refused
	// accessDenied is why the broker did not let us in, and deniedSince since when; nil
	// once this was reported.
	accessDenied error
	deniedSince  time.Time
}

func newRun(ctx context.Context, end context.CancelCauseFunc, b *Bus, h bus.Handler) *run {
	r := &run{
		Bus: b, handler: h, ctx: ctx, end: end, closed: make(chan struct{}), link: newLink(h),
		subscriptions: map[string]*nats.Subscription{}, peers: b.cfg.peers(),
		connectErrors: map[string]bool{}, refused: map[string]bool{},
	}
	r.reader = newReader(b.cfg, h, r.deny)
	return r
}

func (r *run) options() ([]nats.Option, error) {
	c := r.cfg
	credentials, err := c.credentials()
	return append(append(dataPathOptions(r), credentials...),
		nats.Name(c.Prefix.Connection(c.Server)),
		nats.CustomInboxPrefix(c.Prefix.Inbox(c.Server)),
		nats.NoEcho(), // so that an unanswered claim means that no other process has the name
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an operator may yet load the right keys
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait/2),
		nats.PingInterval(2*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(r.connected),
		nats.ReconnectHandler(r.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			r.link.disconnected()
			r.logConnectError("NATS disconnected", err)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { r.logConnectError("NATS connection failed, retrying", err) }),
		nats.ClosedHandler(func(nc *nats.Conn) {
			close(r.closed)
			r.end(fmt.Errorf("bus %s: connection closed: %w", bus.RedactURLs(c.URLs), nc.LastError()))
		}),
		nats.ErrorHandler(r.asyncError),
	), err
}

// dataPathOptions are the options that socket, publisher and reader depend on. What they
// need of nats.go itself, the tests of pinned_test.go hold.
func dataPathOptions(dialer nats.CustomDialer) []nats.Option {
	return []nats.Option{
		nats.SetCustomDialer(dialer),
		nats.SkipHostLookup(),     // Dial does it, for the lookup may take long and must end with Run
		nats.WriteBufferSize(1),   // write each message to the socket when it is published, and not later by the flusher
		nats.ReconnectBufSize(-1), // publish nothing while disconnected: our outboxes keep the newest, this would keep the oldest
		nats.FlusherTimeout(stallTimeout),
		nats.ReconnectOnFlusherError(),
	}
}

// Dial is nats.CustomDialer. nats.go calls it with nc.mu held: see the package's
// comment on locks.
func (r *run) Dial(network, address string) (net.Conn, error) {
	if old := r.dialled.Load(); old != nil {
		old.Close() // nats.go leaves it open if its handshake failed
	}
	// Messages that are left in the channel are dropped: otherwise the first read of the
	// handshake would call the handler while nc.mu is held. Their sequence numbers show the
	// loss.
	r.reader.discard()
	dialer := net.Dialer{Timeout: nats.DefaultTimeout}
	conn, err := dialer.DialContext(r.ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := newSocket(conn)
	s.beforeRead = func() { r.reader.drain(s) }
	r.dialled.Store(s)
	if r.ctx.Err() != nil { // abortDial may have come too early for s
		s.Close()
	}
	return s, nil
}

// abortDial ends a handshake that is under way, so that a stop does not wait for it.
// Nothing is dialled any more by then.
func (r *run) abortDial() {
	if s := r.dialled.Load(); s != nil && s != r.publisher.socket.Load() {
		s.Close()
	}
}

// connected takes note that the connection that was dialled last is established.
func (r *run) connected(nc *nats.Conn) {
	// The socket first: what nc says afterwards is about this connection, or a later one;
	// then this one is dead, and disconnected will be called.
	s := r.dialled.Load()
	url := nc.ConnectedUrl()
	if url == "" {
		return // lost already
	}
	scheme, _, _ := strings.Cut(url, "://")
	_, err := nc.TLSConnectionState()
	s.plain.Store(scheme == "nats" && errors.Is(err, nats.ErrConnectionNotTLS) && nc.HeadersSupported())
	r.publisher.maxPayload.Store(nc.MaxPayload())
	r.publisher.socket.Store(s)
	r.cfg.Log.Info("NATS connected", "url", bus.RedactURL(url))
	r.mu.Lock()
	clear(r.connectErrors)
	r.mu.Unlock()
	r.link.connected()
}

// logConnectError logs why there is no connection, once for each new reason.
func (r *run) logConnectError(what string, err error) {
	if err == nil {
		return
	}
	denied := accessDenied(err)
	r.mu.Lock()
	known := r.connectErrors[err.Error()]
	r.connectErrors[err.Error()] = true
	if denied && r.accessDenied == nil {
		r.accessDenied, r.deniedSince = err, time.Now()
	}
	r.mu.Unlock()
	if known {
		return
	}
	r.cfg.Log.Warn(what, "urls", bus.RedactURLs(r.cfg.URLs), "err", err)
	if denied {
		r.handler.AsyncError("", fmt.Errorf("%w: no access to NATS: %v", bus.ErrDenied, err))
	}
}

// reportAccess reports that we had no access, once this can be published, too.
func (r *run) reportAccess() {
	r.mu.Lock()
	why, since := r.accessDenied, r.deniedSince
	r.accessDenied = nil
	r.mu.Unlock()
	if why != nil {
		r.handler.AsyncError("", fmt.Errorf("%w: had no access to NATS for %v: %v", bus.ErrDenied, time.Since(since).Round(time.Millisecond), why))
	}
}

// accessDenied reports whether the broker is there and does not let us in, or has no
// certificate that we trust.
func accessDenied(err error) bool {
	var op *net.OpError // crypto/tls reports so that the peer rejected our certificate
	return unauthorized(err) || errors.Is(err, nats.ErrTLS) || errors.As(err, &op) && op.Op == "remote error"
}

// unauthorized reports whether the broker does not accept who we say we are.
func unauthorized(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) ||
		errors.Is(err, nats.ErrAccountAuthExpired)
}

// asyncError takes what nats.go reports outside any call.
func (r *run) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	peer := ""
	if sub != nil {
		peer = r.peers[sub.Subject]
	}
	_, up := r.link.current()
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		r.permissionDenied(err)
	case accessDenied(err) || sub == nil && !up: // it comes with each attempt to connect
		r.logConnectError("NATS connection failed, retrying", err)
	case errors.Is(err, nats.ErrSlowConsumer):
		r.handler.AsyncError(peer, bus.ErrSlow)
	default:
		r.handler.AsyncError(peer, err)
	}
}

// serve acquires the server's name, and then serves until r.ctx ends. It returns the
// cause of that, or why serving could not begin.
func (r *run) serve() error {
	defer r.reader.close()
	defer r.link.close()
	var reporting sync.WaitGroup
	defer reporting.Wait()
	defer r.end(nil)
	reporting.Go(r.reportDenials)

	name := newNameLease(r.nc, r.cfg, func() { r.end(fmt.Errorf("%w: %s", bus.ErrNameTaken, r.cfg.Server)) })
	if err := name.acquire(r.ctx, r.link); err != nil {
		return err
	}
	for subject := range r.reader.edges {
		if err := r.subscribe(subject); err != nil {
			return fmt.Errorf("subscribe %s: %w", subject, err)
		}
	}
	service, err := r.addService()
	if err != nil {
		return err
	}
	defer service.Stop()
	r.publisher.conn.Store(r.nc)
	r.ready()

	refresh, poll := time.NewTicker(refreshEvery), time.NewTicker(time.Second)
	defer refresh.Stop()
	defer poll.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		case <-r.link.changed:
			if _, up := r.link.current(); up {
				name.announce()
				r.ready()
			}
		case <-refresh.C:
			r.resubscribe()
			if _, up := r.link.current(); up {
				name.announce()
			}
		case <-poll.C: // nats.go has no callback for a new limit
			r.publisher.maxPayload.Store(r.nc.MaxPayload())
		}
	}
}

// ready waits until the broker has our subscriptions, so that we miss nothing that
// neighbours send from then on, and tells the handler. If that fails, the connection is
// lost, and nats.go reconnects.
func (r *run) ready() {
	number, up := r.link.current()
	if !up {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, stallTimeout)
	defer cancel()
	if err := r.nc.FlushWithContext(ctx); err != nil && r.ctx.Err() == nil {
		r.cfg.Log.Warn("subscriptions not confirmed", "err", err)
	}
	if r.link.report(number) {
		r.reportAccess()
	}
}

// subscribe subscribes to one subject of a neighbour.
func (r *run) subscribe(subject string) error {
	s, err := r.nc.ChanSubscribe(subject, r.reader.messages)
	if err == nil {
		r.subscriptions[subject] = s
	}
	return err
}

// resubscribe subscribes anew to what the broker refused of what neighbours publish.
func (r *run) resubscribe() {
	r.mu.Lock()
	refused := slices.Sorted(maps.Keys(r.refused))
	clear(r.refused)
	r.mu.Unlock()
	for _, subject := range refused {
		old := r.subscriptions[subject]
		if old == nil {
			continue
		}
		// The broker may not know it any more: that is no error here.
		if err := old.Unsubscribe(); err != nil {
			r.cfg.Log.Debug("unsubscribe", "subject", subject, "err", err)
		}
		if err := r.subscribe(subject); err != nil {
			r.cfg.Log.Warn("subscribe", "subject", subject, "err", err)
		}
	}
}

// close flushes and closes the connection and waits until it is closed.
func (r *run) close() {
	if _, up := r.link.current(); up {
		if err := r.nc.FlushTimeout(finalFlush); err != nil {
			r.cfg.Log.Warn("last messages not confirmed", "err", err)
		}
	}
	r.nc.Close()
	<-r.closed
}
