package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

// Requester sends many requests to one endpoint, over one connection.
type Requester struct {
	cfg     Config
	nc      *nats.Conn
	subject string
	usable  context.Context // ends with the first error of the connection, as its cause
}

// NewRequester connects to the bus of cfg, for requests to an endpoint of bus.AnswerNamed or, with server "", of
// bus.AnswerOne. ctx bounds the time to connect. Its error is that of Ask. Close must follow.
func NewRequester(ctx context.Context, cfg Config, e bus.Endpoint, server string) (*Requester, error) {
	usable, fail := context.WithCancelCause(context.Background())
	nc, err := connectTool(ctx, cfg, inboxOf(e),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fail(err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { fail(cmp.Or(nc.LastError(), errLost)) }),
	)
	if err != nil {
		return nil, err
	}
	return &Requester{cfg, nc, e.Subject(cfg.Prefix, server), usable}, nil
}

// Request sends a request and returns the reply. Its error is the one that the server has answered with, bus.ErrDenied if the broker
// does not permit the request, or bus.ErrUnavailable if no server answers before ctx ends. It may be called concurrently.
func (r *Requester) Request(ctx context.Context, data []byte) (reply []byte, err error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.usable, cancel)()
	m, err := r.nc.RequestWithContext(waiting, r.subject, data)
	switch {
	case err == nil:
		return m.Data, errorOf(m)
	case r.usable.Err() != nil:
		return nil, askError(r.cfg, context.Cause(r.usable))
	case errors.Is(err, nats.ErrNoResponders) || ctx.Err() != nil:
		return nil, fmt.Errorf("%w: no server answers", bus.ErrUnavailable)
	}
	return nil, askError(r.cfg, err)
}

// Close closes the connection.
func (r *Requester) Close() { r.nc.Close() }
