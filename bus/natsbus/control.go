package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

const (
	reconnectWait = 200 * time.Millisecond
	lastFlush     = time.Second // for what was sent before the end of Run
	// askAgainEvery is how often we ask again for what the broker refused of what
	// neighbours say, for one that reads other rules takes subscriptions away and does
	// not give them back; and how often we say that our name is ours.
	askAgainEvery = 5 * time.Second
)

// Run connects, and stays connected until ctx ends; then it flushes what was
// sent, closes the connection and returns nil. Before it takes in or lets out
// anything it makes sure that no other process bears this server's name; if one
// does, now or when the bus, or a broker with that process, comes back later, it
// returns bus.ErrNameTaken.
func (b *Bus) Run(ctx context.Context, h bus.Handler) error {
	r := &run{Bus: b, handler: h, link: make(chan bool, 16), taken: make(chan struct{}, 1), closed: make(chan struct{}),
		peers: b.cfg.peers(), intake: newIntake(b.cfg), heard: map[string]*nats.Subscription{}, reasons: map[string]bool{}, refused: map[string]bool{},
		denials: denials{by: map[string]*denial{}}}
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

	claim  claim
	intake *intake
	heard  map[string]*nats.Subscription // to what neighbours say, by subject; of serve's goroutine

	peers   map[string]string // neighbours by the subjects of their edges, both ways; not changed
	denials denials

	mu           sync.Mutex
	reasons      map[string]bool // why connecting failed, since it last worked: each is logged once
	refused      map[string]bool // subscriptions that the broker refused, by subject
	keptOff      error           // why the broker did not let us in, since it last did; nil if it did
	keptOffSince time.Time
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

// connected takes note that the last socket that was dialled is a connection.
func (r *run) connected(nc *nats.Conn) {
	s := r.dialled.Load()
	// In this order: a connection that is there now is no later one than s, so that s is
	// not, or no longer, nats.go's alone. If it is away by now, s is dead, or about to be
	// told of again.
	scheme, _, _ := strings.Cut(nc.ConnectedUrl(), "://")
	_, err := nc.TLSConnectionState()
	s.plain.Store(scheme == "nats" && errors.Is(err, nats.ErrConnectionNotTLS) && nc.HeadersSupported())
	r.socket.Store(s)
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
		r.handler.AsyncError("", fmt.Errorf("%w: no entry to the bus: %v", bus.ErrDenied, err))
	}
}

// letIn tells, now that the bus can be told too, that we were kept off it.
func (r *run) letIn() {
	r.mu.Lock()
	why, since := r.keptOff, r.keptOffSince
	r.keptOff = nil
	r.mu.Unlock()
	if why != nil {
		r.handler.AsyncError("", fmt.Errorf("%w: kept off the bus for %v: %v", bus.ErrDenied, time.Since(since).Round(time.Millisecond), why))
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
		r.handler.AsyncError(peer, bus.ErrSlow)
	default:
		r.handler.AsyncError(peer, err)
	}
}

// serve follows the connection's ups and downs until ctx ends.
func (r *run) serve(ctx context.Context) error {
	defer r.intake.end()

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
			if err := r.listen(); err != nil {
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

// flush returns once the broker knows what we subscribed to, so that nothing that
// neighbours send from then on passes us by. Should that fail, the connection is
// about to be lost and made again.
func (r *run) flush() {
	if err := r.nc.FlushTimeout(stalledWrite); err != nil {
		r.cfg.Log.Warn("subscribing", "err", err)
	}
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
