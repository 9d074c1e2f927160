package natsbus

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

const (
	// streamSilence is how long a stream may be silent. A server sends a frame each second.
	streamSilence = 3 * time.Second
	// confirmEvery is how often a follower confirms at least: the server ends a stream of which it has heard nothing
	// for 30 s.
	confirmEvery = 5 * time.Second
	// confirmBytes are taken at most before the follower confirms, a quarter of what the server sends without a
	// confirmation.
	confirmBytes = 256 << 10
	// streamMessages may be between nats.go and take. Small frames come every 10 ms at most.
	streamMessages = 4096
)

// Frame is a frame of a stream.
type Frame struct {
	Epoch, Seq  uint64
	SnapshotEnd bool   // the snapshot ends with this frame
	Data        []byte // lines; take may keep it
}

// Follow opens a stream at a Stream endpoint of one server, and calls take with each of its frames, in the order in which
// they arrive. It confirms what take has returned for. It ends when take returns an error, which it returns, or when
// ctx ends, with nil: then it ends the stream.
//
// Its error is bus.ErrDenied as that of Ask, the one that the server has answered with, or bus.ErrUnavailable: no server of that
// name is there, it has ended the stream, or nothing was received for three seconds. Of cfg, Server, Neighbours and Service need not be set.
func Follow(ctx context.Context, cfg Config, e bus.Endpoint, server string, request []byte, take func(Frame) error) error {
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- askError(cfg, err):
		default:
		}
	}
	nc, err := connectTool(ctx, cfg,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fail(err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { fail(cmp.Or(nc.LastError(), errLost)) }),
	)
	if err != nil {
		return err
	}
	defer nc.Close()
	f := follower{nc: nc, subject: e.Subject(cfg.Prefix, server), id: rand.Text(), messages: make(chan *nats.Msg, streamMessages), take: take}
	if err := f.open(request); err != nil {
		return askError(cfg, err)
	}
	defer f.end()
	silence := time.NewTimer(streamSilence)
	defer silence.Stop()
	for {
		select {
		case m := <-f.messages:
			if err := f.receive(m); errors.Is(err, errNoServer) {
				return fmt.Errorf("%w: no server %s replies: is it running?", bus.ErrUnavailable, server)
			} else if err != nil {
				return err
			}
			silence.Reset(streamSilence)
		case <-silence.C:
			return fmt.Errorf("%w: nothing was received from %s for %v", bus.ErrUnavailable, server, streamSilence)
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// follower is one stream of a tool.
type follower struct {
	nc       *nats.Conn
	subject  string // of its requests
	id       string
	messages chan *nats.Msg
	take     func(Frame) error

	taken     uint64 // number of the last frame that was taken
	bytes     int    // taken and not confirmed
	confirmed time.Time
}

var errNoServer = errors.New("nobody takes the request")

// open sends the first request.
func (f *follower) open(request []byte) error {
	inbox := f.nc.NewInbox()
	if _, err := f.nc.ChanSubscribe(inbox, f.messages); err != nil {
		return err
	}
	f.confirmed = time.Now()
	return f.nc.PublishMsg(&nats.Msg{Subject: f.subject, Reply: inbox, Header: nats.Header{bus.StreamHeader: {f.id}}, Data: request})
}

// receive takes one message.
func (f *follower) receive(m *nats.Msg) error {
	if noResponders(m) {
		return errNoServer
	}
	if err := errorOf(m); err != nil {
		return err
	}
	frame := Frame{
		Epoch: number(m.Header, bus.StreamEpochHeader), Seq: number(m.Header, bus.StreamSeqHeader),
		SnapshotEnd: m.Header.Get(bus.SnapshotHeader) == bus.SnapshotEnd, Data: m.Data,
	}
	switch {
	case frame.Epoch == 0:
		return nil // not a frame
	case m.Header.Get(bus.EndHeader) == "true":
		return fmt.Errorf("%w: the server has ended the stream, for instance because it stops", bus.ErrUnavailable)
	}
	if err := f.take(frame); err != nil {
		return err
	}
	f.taken = frame.Seq
	f.bytes += len(frame.Data)
	if f.bytes >= confirmBytes || time.Since(f.confirmed) >= confirmEvery {
		return f.confirm()
	}
	return nil
}

// confirm tells the server what was taken, so that the stream goes on.
func (f *follower) confirm() error {
	f.bytes, f.confirmed = 0, time.Now()
	return f.tell(bus.AckHeader, strconv.FormatUint(f.taken, 10))
}

// end ends the stream. If that fails, the server ends it later.
func (f *follower) end() {
	if f.tell(bus.EndHeader, "true") == nil {
		f.nc.FlushTimeout(time.Second)
	}
}

func (f *follower) tell(header, value string) error {
	return f.nc.PublishMsg(&nats.Msg{Subject: f.subject, Header: nats.Header{bus.StreamHeader: {f.id}, header: {value}}})
}
