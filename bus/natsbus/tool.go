package natsbus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/bus"
	"herd/bus/printable"
)

// Reply is one server's reply to a request.
type Reply struct {
	Server string // as the reply says; "" if it does not
	Data   []byte // not checked: any client with the permission to publish may have sent it
	Err    error  // the error that the server replied with
	// LeftOut is how many lines did not fit into the reply: see bus.LeftOutHeader.
	LeftOut int
}

func replyOf(m *nats.Msg) Reply {
	leftOut, err := strconv.Atoi(m.Header.Get(bus.LeftOutHeader))
	if err != nil {
		leftOut = 0
	}
	return Reply{m.Header.Get(ServerHeader), m.Data, errorOf(m), leftOut}
}

// Ask sends a request, data, to an endpoint of bus.AnswerAll on the bus of cfg and calls take
// with each reply, until take returns false or ctx ends, which also bounds the time to
// connect. Its error is bus.ErrDenied if the broker does not accept our credentials or does
// not permit the request. Of cfg, Server, Neighbours and Service need not be set.
func Ask(ctx context.Context, cfg Config, e bus.Endpoint, data []byte, take func(Reply) (more bool)) error {
	return ask(ctx, cfg, e.Subject(cfg.Prefix, ""), data, func(m *nats.Msg) bool {
		if noResponders(m) {
			return false
		}
		return take(replyOf(m))
	}, inboxOf(e))
}

// inboxOf makes replies arrive where the users that may not send the request cannot read them.
func inboxOf(e bus.Endpoint) nats.Option {
	if e.OpsOnly {
		return nats.CustomInboxPrefix(bus.OpsInbox)
	}
	return func(*nats.Options) error { return nil }
}

// Request sends a request to an endpoint of bus.AnswerNamed, and returns the reply. Its error is
// bus.ErrDenied as that of Ask, the one that the server has answered with, or bus.ErrUnavailable if no
// server of that name answers before ctx ends. Of cfg, Server, Neighbours and Service need not be set.
func Request(ctx context.Context, cfg Config, e bus.Endpoint, server string, data []byte) (reply []byte, err error) {
	answer := fmt.Errorf("%w: %s does not answer", bus.ErrUnavailable, server)
	failed := ask(ctx, cfg, e.Subject(cfg.Prefix, server), data, func(m *nats.Msg) bool {
		if !noResponders(m) {
			reply, answer = m.Data, errorOf(m)
		}
		return false
	}, inboxOf(e))
	if failed != nil {
		return nil, failed
	}
	return reply, answer
}

// Metadata returns the metadata of one server's Service; nil if no server replies before ctx
// ends. It may be forged on a bus without keys. Its error is that of Ask.
func Metadata(ctx context.Context, cfg Config) (metadata map[string]string, err error) {
	err = ask(ctx, cfg, "$SRV.INFO."+string(cfg.Prefix), nil, func(m *nats.Msg) bool {
		var info micro.Info
		if noResponders(m) {
			return false
		}
		if json.Unmarshal(m.Data, &info) != nil {
			return true
		}
		metadata = info.Metadata
		return false
	})
	return metadata, err
}

// RequestShared sends a request to an endpoint of bus.AnswerOne, and returns the reply of the one server
// that answers, without its error. Its errors are those of Request: bus.ErrUnavailable if no
// server is ready, or none answers before ctx ends.
func RequestShared(ctx context.Context, cfg Config, e bus.Endpoint, data []byte) (reply Reply, err error) {
	answer := fmt.Errorf("%w: no server answers", bus.ErrUnavailable)
	failed := ask(ctx, cfg, e.Subject(cfg.Prefix, ""), data, func(m *nats.Msg) bool {
		if noResponders(m) {
			answer = fmt.Errorf("%w: no server is ready", bus.ErrUnavailable)
		} else {
			reply = replyOf(m)
			reply.Err, answer = nil, reply.Err
		}
		return false
	}, inboxOf(e))
	if failed != nil {
		return Reply{}, failed
	}
	return reply, answer
}

// noResponders reports whether a message is not a reply, but the broker's note that nobody has
// subscribed to the subject of the request.
func noResponders(m *nats.Msg) bool { return m.Header.Get("Status") == "503" }

// errorOf is the error that a reply of a micro service is; nil if it is none.
func errorOf(m *nats.Msg) error {
	code := m.Header.Get(micro.ErrorCodeHeader)
	if code == "" {
		return nil
	}
	for _, c := range codes {
		if c.code == code {
			text := strings.TrimPrefix(m.Header.Get(micro.ErrorHeader), c.err.Error()+": ")
			return fmt.Errorf("%w: %s", c.err, printable.Clip(text, 500))
		}
	}
	return fmt.Errorf("refused with code %.20q: %s", code, printable.Clip(m.Header.Get(micro.ErrorHeader), 500))
}

// ask publishes a request and calls take with all that is received in reply, until take
// returns false or ctx ends.
func ask(ctx context.Context, cfg Config, subject string, data []byte, take func(*nats.Msg) (more bool), opts ...nats.Option) error {
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- askError(cfg, err):
		default:
		}
	}
	nc, err := connectTool(ctx, cfg, append(opts,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fail(err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { fail(cmp.Or(nc.LastError(), errLost)) }),
	)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	inbox := nc.NewInbox()
	messages := make(chan *nats.Msg, 1024)
	if _, err := nc.ChanSubscribe(inbox, messages); err != nil {
		return askError(cfg, err)
	}
	if err := nc.PublishRequest(subject, inbox, data); err != nil {
		return askError(cfg, err)
	}
	for {
		select {
		case m := <-messages:
			if !take(m) {
				return nil
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// connectTool connects to the first broker of cfg that lets us in. Brokers share the time
// that ctx leaves.
func connectTool(ctx context.Context, cfg Config, handlers ...nats.Option) (*nats.Conn, error) {
	id, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	var failures []error
	for i, s := range cfg.URLs {
		u, err := bus.ParseURL(s)
		if err != nil {
			return nil, err
		}
		patience := maxPatience
		if deadline, ok := ctx.Deadline(); ok {
			patience = time.Until(deadline) / time.Duration(len(cfg.URLs)-i)
		}
		if ctx.Err() != nil || patience <= 0 {
			failures = append(failures, context.Cause(ctx))
			break
		}
		connect := func() (*nats.Conn, error) {
			dialer := &toolDialer{ctx: ctx, timeout: patience}
			defer dialer.release()
			nc, err := open(u.String(), slices.Concat(handlers, attempt{url: u.String(), patience: patience}.options(), id.options, []nats.Option{
				nats.SetCustomDialer(dialer), nats.SkipHostLookup(), nats.NoReconnect(),
			}))
			if err != nil {
				err = dialer.explain(err)
			}
			return nc, err
		}
		nc, err := connect()
		if brokenHandshake(err) {
			select {
			case <-time.After(handshakePause):
				nc, err = connect()
			case <-ctx.Done():
			}
		}
		if err == nil {
			return nc, nil
		}
		failures = append(failures, err)
	}
	return nil, askError(cfg, errors.Join(failures...))
}

// handshakePause is how long connectTool waits before it tries a broker again that has closed the connection during the handshake.
const handshakePause = 100 * time.Millisecond

// brokenHandshake reports whether something has closed the connection before it was a connection to NATS. A broker does that while it
// reloads its configuration, so one more attempt is worthwhile.
func brokenHandshake(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// ErrHandshake is the error of a tool that has connected to something that does not greet it
// as a NATS server does.
var ErrHandshake = errors.New("connected, but no NATS server replied")

// toolDialer dials until ctx ends. The end of ctx closes the connection, unless release was
// called: the handshake of NATS does not know ctx.
type toolDialer struct {
	ctx     context.Context
	timeout time.Duration
	failed  error
	stop    func() bool // nil without a connection
}

func (d *toolDialer) Dial(network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.timeout}
	conn, err := dialer.DialContext(d.ctx, network, address)
	if d.failed = err; err == nil {
		d.stop = context.AfterFunc(d.ctx, func() { conn.Close() })
	}
	return conn, err
}

func (d *toolDialer) release() {
	if d.stop != nil {
		d.stop()
	}
}

// explain returns what a failure to connect means.
func (d *toolDialer) explain(err error) error {
	switch {
	case errors.Is(d.ctx.Err(), context.Canceled):
		return context.Canceled
	case d.failed != nil:
		return d.failed
	case d.stop == nil:
		return err
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, nats.ErrNoInfoReceived):
		return fmt.Errorf("%w (%w)", ErrHandshake, err)
	}
	return err
}

// askError is an error of a tool: denied is what the broker refuses us, and no other.
func askError(cfg Config, err error) error {
	if unauthorized(err) || errors.Is(err, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w: %v", bus.ErrDenied, err)
	}
	return fmt.Errorf("bus %s: %w", bus.RedactURLs(cfg.URLs), err)
}
