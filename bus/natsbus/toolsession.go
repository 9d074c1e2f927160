package natsbus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// ToolSession is a connection of a tool that lasts, for many requests and for subscriptions. It does
// not reconnect: when Done is closed, make another one.
type ToolSession struct {
	cfg   Config
	nc    *nats.Conn
	ended context.Context // its cause is why the connection ended
	end   context.CancelCauseFunc
}

const (
	// sessionPing is how often a session looks whether the broker is there. It gives up after two
	// pings without a reply.
	sessionPing = 2 * time.Second
	// sessionPending and sessionPendingBytes bound what waits for each function that a session
	// calls. Further messages are dropped.
	sessionPending      = 8192
	sessionPendingBytes = 8 << 20
)

// DialTool connects to the bus of cfg. ctx bounds the time to connect. Its error is that of Ask. Close
// must follow. Of cfg, Server, Neighbours and Service need not be set.
func DialTool(ctx context.Context, cfg Config) (*ToolSession, error) {
	ended, end := context.WithCancelCause(context.Background())
	nc, err := connectTool(ctx, cfg,
		nats.PingInterval(sessionPing), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrSlowConsumer) { // messages were dropped, and later ones arrive
				end(err)
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) { end(cmp.Or(nc.LastError(), errLost)) }),
	)
	if err != nil {
		return nil, err
	}
	return &ToolSession{cfg, nc, ended, end}, nil
}

// Subscribe calls take with each message on a subject, one after the other, until stop is called or
// the connection ends. If take is too slow, messages are lost. take owns the data.
func (s *ToolSession) Subscribe(subject string, take func(subject string, data []byte)) (stop func(), err error) {
	return s.subscribe(subject, func(m *nats.Msg) { take(m.Subject, m.Data) })
}

func (s *ToolSession) subscribe(subject string, take nats.MsgHandler) (stop func(), err error) {
	sub, err := s.nc.Subscribe(subject, take)
	if err != nil {
		return nil, askError(s.cfg, err)
	}
	if err := sub.SetPendingLimits(sessionPending, sessionPendingBytes); err != nil {
		return nil, askError(s.cfg, err)
	}
	return func() { sub.Unsubscribe() }, nil // it fails only after the end of the connection
}

// Ask sends a request to an endpoint of bus.AnswerAll, and calls take with each reply until stop is
// called or the connection ends. It does not wait for replies.
func (s *ToolSession) Ask(e bus.Endpoint, data []byte, take func(Reply)) (stop func(), err error) {
	inbox := s.nc.NewInbox()
	stop, err = s.subscribe(inbox, func(m *nats.Msg) {
		if !noResponders(m) {
			take(replyOf(m))
		}
	})
	if err != nil {
		return nil, err
	}
	if err := s.nc.PublishRequest(e.Subject(s.cfg.Prefix, ""), inbox, data); err != nil {
		stop()
		return nil, askError(s.cfg, err)
	}
	return stop, nil
}

// Info asks for the metadata of all services with the herd's prefix, and calls take with each, until stop is
// called or the connection ends. It may be forged on a bus without keys.
func (s *ToolSession) Info(take func(metadata map[string]string)) (stop func(), err error) {
	inbox := s.nc.NewInbox()
	stop, err = s.subscribe(inbox, func(m *nats.Msg) {
		var info micro.Info
		if !noResponders(m) && json.Unmarshal(m.Data, &info) == nil {
			take(info.Metadata)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := s.nc.PublishRequest("$SRV.INFO."+string(s.cfg.Prefix), inbox, nil); err != nil {
		stop()
		return nil, askError(s.cfg, err)
	}
	return stop, nil
}

// Done is closed when the connection has ended, or the broker has denied something.
func (s *ToolSession) Done() <-chan struct{} { return s.ended.Done() }

// Err is why Done is closed: an error as that of Ask.
func (s *ToolSession) Err() error {
	if err := context.Cause(s.ended); err != nil {
		return askError(s.cfg, err)
	}
	return nil
}

// Close closes the connection.
func (s *ToolSession) Close() {
	s.end(nats.ErrConnectionClosed)
	s.nc.Close()
}
