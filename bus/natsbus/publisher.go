package natsbus

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

const (
	// maxHeader is the largest size of a message's header, with the line that NATS puts
	// before it.
	maxHeader = 128
	// defaultMaxPayload is the limit of a NATS server whose configuration sets none.
	defaultMaxPayload = 1 << 20
)

var errLost = errors.New("the connection was lost")

// publisher writes messages to the present connection.
//
// It does not wait for a lock of nats.go's, which may be held while a broker is stalled. On
// a plain connection the publisher writes to the socket itself and needs none. That is
// also cheaper: for each message nats.go wakes its flusher although nothing is left to
// flush. On an idle server that costs as much as handling a report. Over TLS and WebSocket
// nats.go has to write. It does so in a goroutine of its own, for which the publisher waits
// only while the connection lives.
type publisher struct {
	conn       atomic.Pointer[nats.Conn] // the present connection, or one that is closed; nil while there is none that is ready
	socket     atomic.Pointer[socket]    // of the present connection or the last; nil before the first
	maxPayload atomic.Int64              // of the present broker or the last; 0 before the first
	turn       chan struct{}             // holds a token while nats.go publishes, so that messages stay in order
}

func newPublisher() publisher { return publisher{turn: make(chan struct{}, 1)} }

// maxData is how many bytes of data a message may have.
func (p *publisher) maxData() int {
	limit := p.maxPayload.Load()
	if limit == 0 {
		limit = defaultMaxPayload
	}
	return max(int(limit)-maxHeader, 0)
}

// publish writes messages in their order and in one write. Its errors are those of
// Bus.Send.
func (p *publisher) publish(subject func(bus.Message) string, ms ...bus.Message) error {
	nc, s := p.conn.Load(), p.socket.Load()
	if nc == nil || s == nil {
		return bus.ErrDisconnected
	}
	if err := s.cork(); err != nil {
		return fmt.Errorf("%w: %v", bus.ErrDisconnected, err)
	}
	err := p.write(nc, s, subject, ms)
	if failed := s.uncork(); failed != nil && err == nil {
		err = fmt.Errorf("%w: %v", bus.ErrUncertain, failed)
	}
	return err
}

// write writes messages to a corked socket.
func (p *publisher) write(nc *nats.Conn, s *socket, subject func(bus.Message) string, ms []bus.Message) error {
	for limit, i := p.maxData(), 0; i < len(ms); i++ {
		if size := len(ms[i].Data); size > limit && subject(ms[i]) != "" {
			return fmt.Errorf("%w: %d bytes on %s", bus.ErrTooLarge, size, subject(ms[i]))
		}
	}
	if !s.plain.Load() {
		return p.writeByNATS(nc, s, subject, ms)
	}
	var noEdge error
	for _, m := range ms {
		on := subject(m)
		if on == "" {
			noEdge = errNoEdge(m)
			continue
		}
		if err := s.writeMessage(on, m); err != nil {
			return fmt.Errorf("%w: %v", bus.ErrUncertain, err)
		}
	}
	return noEdge
}

// writeByNATS lets nats.go write messages, before all that is published later.
func (p *publisher) writeByNATS(nc *nats.Conn, s *socket, subject func(bus.Message) string, ms []bus.Message) error {
	select {
	case p.turn <- struct{}{}:
	case <-s.dead:
		return fmt.Errorf("%w: %v", bus.ErrDisconnected, errLost)
	}
	var noEdge error
	messages := make([]*nats.Msg, 0, len(ms))
	for _, m := range ms {
		if on := subject(m); on != "" {
			messages = append(messages, newMessage(on, m))
		} else {
			noEdge = errNoEdge(m)
		}
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-p.turn }()
		for i, m := range messages {
			err := nc.PublishMsg(m)
			if err == nil {
				continue
			}
			if errors.Is(err, nats.ErrMaxPayload) { // nats.go knows a new limit that we do not know yet
				p.maxPayload.Store(nc.MaxPayload())
				if i == 0 {
					done <- fmt.Errorf("%w: %v", bus.ErrTooLarge, err)
					return
				}
			}
			done <- fmt.Errorf("%w: %v", bus.ErrUncertain, err)
			return
		}
		done <- noEdge
	}()
	select {
	case err := <-done:
		return err
	case <-s.dead:
		return fmt.Errorf("%w: %v", bus.ErrUncertain, errLost)
	}
}

// errNoEdge says that a message was left out.
func errNoEdge(m bus.Message) error { return fmt.Errorf("%w: %s", bus.ErrNoEdge, m.Peer) }

// newMessage is m for nats.go, with data of its own.
func newMessage(subject string, m bus.Message) *nats.Msg {
	msg := &nats.Msg{Subject: subject, Data: slices.Clone(m.Data)}
	if m.Epoch == 0 {
		return msg
	}
	epoch, seq := numberHeaders(m.Lane)
	msg.Header = nats.Header{epoch: {strconv.FormatUint(m.Epoch, 10)}, seq: {strconv.FormatUint(m.Seq, 10)}}
	if m.SnapshotEnd {
		msg.Header.Set(bus.SnapshotHeader, bus.SnapshotEnd)
	}
	if m.End {
		msg.Header.Set(bus.EndHeader, "true")
	}
	return msg
}

// numberHeaders are the headers of a message's epoch and number.
func numberHeaders(lane bus.Lane) (epoch, seq string) {
	if lane == bus.Stream {
		return bus.StreamEpochHeader, bus.StreamSeqHeader
	}
	return bus.EpochHeader, bus.SeqHeader
}

// appendMessage appends m in NATS's client protocol: PUB, or HPUB with headers.
func appendMessage(dst []byte, subject string, m bus.Message) []byte {
	var room [maxHeader]byte
	header, verb := room[:0], "PUB "
	if m.Epoch != 0 {
		verb = "HPUB "
		epoch, seq := numberHeaders(m.Lane)
		header = strconv.AppendUint(append(append(append(header, "NATS/1.0\r\n"...), epoch...), ": "...), m.Epoch, 10)
		header = strconv.AppendUint(append(append(append(header, "\r\n"...), seq...), ": "...), m.Seq, 10)
		if m.SnapshotEnd {
			header = append(header, "\r\n"+bus.SnapshotHeader+": "+bus.SnapshotEnd...)
		}
		if m.End {
			header = append(header, "\r\n"+bus.EndHeader+": true"...)
		}
		header = append(header, "\r\n\r\n"...)
	}
	dst = append(append(append(dst, verb...), subject...), ' ')
	if len(header) > 0 {
		dst = append(strconv.AppendInt(dst, int64(len(header)), 10), ' ')
	}
	dst = append(strconv.AppendInt(dst, int64(len(header)+len(m.Data)), 10), "\r\n"...)
	return append(append(append(dst, header...), m.Data...), "\r\n"...)
}
