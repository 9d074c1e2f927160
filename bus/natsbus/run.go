package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/ratenote"
)

// run is one call of Run: one connection after the other.
type run struct {
	*Bus
	handler bus.Handler
	ctx     context.Context         // ends with Run
	end     context.CancelCauseFunc // ends it
	link    *link
	name    *nameLease
	brokers *brokers         // of serve's goroutine
	denials ratenote.Limiter // by subject

	// handshaking is the socket on which nats.go shakes hands; nil at other times.
	handshaking atomic.Pointer[socket]
	renew       chan struct{} // receives a token when we are to reconnect
	edgesNew    chan struct{} // receives a token when the edges have changed
	sharedNew   chan struct{} // receives a token when JoinShared was called

	mu            sync.Mutex
	edgesApplied  chan struct{}   // closed when the subscriptions are those of the edges; nil when nobody waits
	connectErrors map[string]bool // that were logged since we were last connected
	// accessDenied is why the broker did not let us in, and deniedSince since when; nil
	// once this was reported.
	accessDenied error
	deniedSince  time.Time
}

func newRun(ctx context.Context, end context.CancelCauseFunc, b *Bus, h bus.Handler) (*run, error) {
	brokers, err := newBrokers(b.cfg.URLs)
	if err != nil {
		return nil, err
	}
	if id, err := b.current(); id == nil {
		return nil, err
	}
	r := &run{
		Bus: b, handler: h, ctx: ctx, end: end, link: newLink(h), brokers: brokers,
		renew: make(chan struct{}, 1), edgesNew: make(chan struct{}, 1), sharedNew: make(chan struct{}, 1), connectErrors: map[string]bool{},
	}
	r.name = newNameLease(b.cfg, func() { end(fmt.Errorf("%w: %s", bus.ErrNameTaken, b.cfg.Server)) })
	return r, nil
}

// serve makes connections and serves on them until r.ctx ends. It returns the cause of
// that, or why serving could not begin.
func (r *run) serve() error {
	defer r.link.close()
	var reporting sync.WaitGroup
	defer reporting.Wait()
	defer r.end(nil)
	reporting.Go(r.reportDenials)
	for {
		c, err := r.connect()
		if err != nil {
			return err
		}
		began := time.Now()
		err = c.serve()
		if err != nil {
			r.link.close()
		}
		c.close()
		if err != nil {
			return err
		}
		r.noteLoss(c, time.Since(began))
	}
}

// connect makes a connection, for which it tries without end. It returns the cause of
// r.ctx when that ends.
func (r *run) connect() (*connection, error) {
	for {
		a := r.brokers.next()
		pause := time.NewTimer(a.pause)
		select {
		case <-pause.C:
		case <-r.renew: // with other keys
			pause.Stop()
		case <-r.ctx.Done():
			pause.Stop()
		}
		if r.ctx.Err() != nil {
			return nil, context.Cause(r.ctx)
		}
		c, err := r.dial(a)
		if r.ctx.Err() != nil {
			if err == nil {
				c.close()
			}
			return nil, context.Cause(r.ctx)
		}
		if err == nil {
			r.brokers.connected(a.url)
			return c, nil
		}
		if why := reason(err); why != "" || c.dialFailed != nil { // a broker does not always get to say why it hangs up
			r.problems.connectFailed(a.url, why)
		}
		r.logConnectError("NATS connection failed, retrying", err)
	}
}

// dial makes one attempt to connect. It returns the connection also if it has failed.
func (r *run) dial(a attempt) (*connection, error) {
	select {
	case <-r.renew: // what is read now is new
	default:
	}
	id, err := r.current()
	if err != nil {
		r.logConnectError("NATS key or certificate not read, the former stays in use", err)
	}
	c := newConnection(r, a)
	c.nc, err = open(a.url, c.options(id))
	r.handshaking.Store(nil)
	if c.socket != nil {
		c.socket.handshakeDone()
	}
	if err != nil {
		if c.socket != nil {
			c.socket.Close() // nats.go leaves it open if its handshake failed
		}
		return c, cmp.Or(c.dialFailed, err) // nats.go replaces some of these
	}
	c.identity = id
	r.setUsed(id)
	return c, nil
}

// noteLoss notes that a connection ended after it had lived for a time, and why.
func (r *run) noteLoss(c *connection, lived time.Duration) {
	err := c.failed
	if err == nil {
		return // we have closed it
	}
	r.brokers.lost(lived)
	why := reason(err)
	if why == "" && r.brokers.short > 2 {
		why = fmt.Sprintf("ends each connection after a moment (%v): its log says why; its max_pending or write_deadline may be too small", err)
	}
	if r.brokers.short > 0 {
		r.problems.connectFailed(c.url, why)
	}
	r.logConnectError("NATS disconnected", err)
}

// reconnect makes us reconnect once no request is being answered.
func (r *run) reconnect() { signal(r.renew) }

// awaitEdges makes the subscriptions those of the present edges. It returns when that is
// done, or after edgesTimeout.
func (r *run) awaitEdges() {
	r.mu.Lock()
	if r.edgesApplied == nil {
		r.edgesApplied = make(chan struct{})
	}
	applied := r.edgesApplied
	r.mu.Unlock()
	signal(r.edgesNew)
	if !r.link.isReported() {
		return // what comes with the next connection subscribes to all edges
	}
	timeout := time.NewTimer(edgesTimeout)
	defer timeout.Stop()
	select {
	case <-applied:
	case <-timeout.C:
	case <-r.ctx.Done():
	}
}

// abortDial ends a handshake that is under way, so that a stop does not wait for it.
// Nothing is dialled any more by then.
func (r *run) abortDial() {
	if s := r.handshaking.Load(); s != nil {
		s.Close()
	}
}

// logConnectError logs why there is no connection, once for each new reason.
func (r *run) logConnectError(what string, err error) {
	denied := accessDenied(err)
	text := err.Error()
	if why := reason(err); why != "" && !denied {
		text = fmt.Sprintf("%v: the broker %s", err, why)
	}
	key := text
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		key = "the broker hangs up" // which of the three it is depends on what was in transit
	}
	r.mu.Lock()
	known := r.connectErrors[key]
	r.connectErrors[key] = true
	if denied && r.accessDenied == nil {
		r.accessDenied, r.deniedSince = err, time.Now()
	}
	r.mu.Unlock()
	if known {
		return
	}
	r.cfg.Log.Warn(what, "urls", bus.RedactURLs(r.cfg.URLs), "err", text)
	if denied {
		r.handler.AsyncError("", fmt.Errorf("%w: no access to NATS: %v", bus.ErrDenied, err))
	}
}

// forgetConnectErrors makes each reason be logged again, unless the last connections were
// short-lived.
func (r *run) forgetConnectErrors() {
	if r.brokers.short > 1 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.connectErrors)
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

// signal puts a token into a channel of capacity 1.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
