package natsbus

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

// headerSize is what headers take at most, with the line that NATS puts before them.
const headerSize = 128

// Send writes messages to the connection, in their order and in one write. It
// returns bus.ErrDisconnected while there is no connection or the broker takes nothing, and
// bus.ErrTooLarge for a message beyond MaxData; after an error none counts as sent,
// though some may have been. It keeps no hold on the messages' data. It blocks for a
// tenth of a second at most.
func (b *Bus) Send(ms ...bus.Message) error {
	most := b.MaxData()
	return b.inOneWrite(func(s *socket) error {
		for _, m := range ms {
			if err := b.send(s, m, most); err != nil {
				return err
			}
		}
		return nil
	})
}

// PublishEvent publishes an event for people: text, one line, of a kind and about a
// peer, or "" for none. While the bus is away it is dropped, with an error.
func (b *Bus) PublishEvent(kind, peer, text string) error {
	return b.inOneWrite(func(*socket) error {
		return b.publish(&nats.Msg{Subject: b.cfg.Prefix.Event(b.cfg.Server, kind, peer), Data: []byte(text)})
	})
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

// inOneWrite lets what publish sends leave at once.
func (b *Bus) inOneWrite(publish func(*socket) error) error {
	s := b.socket.Load()
	if s == nil || b.conn.Load() == nil {
		return bus.ErrDisconnected
	}
	if err := s.cork(); err != nil {
		return fmt.Errorf("%w: %v", bus.ErrDisconnected, err)
	}
	err := publish(s)
	if failed := s.uncork(); failed != nil && err == nil {
		err = fmt.Errorf("%w: %v", bus.ErrDisconnected, failed)
	}
	return err
}

// send says m, of most bytes of data at most, on the socket itself where it can. nats.go would wake a goroutine of its
// own for each message, to write what has been written already; on an idle server that
// costs as much as all the rest of a report.
func (b *Bus) send(s *socket, m bus.Message, most int) error {
	subject := b.subjects[edge{m.Peer, m.Lane}]
	switch {
	case !s.plain.Load():
		return b.publish(encode(subject, m))
	case len(m.Data) > most:
		return tooLarge(subject, len(m.Data))
	}
	if err := s.say(subject, m); err != nil {
		return fmt.Errorf("%w: %v", bus.ErrDisconnected, err)
	}
	return nil
}

func (b *Bus) publish(m *nats.Msg) error {
	switch err := b.conn.Load().PublishMsg(m); {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return tooLarge(m.Subject, len(m.Data))
	default:
		return fmt.Errorf("%w: %v", bus.ErrDisconnected, err)
	}
}

func tooLarge(subject string, size int) error {
	return fmt.Errorf("%w: %d bytes on %s", bus.ErrTooLarge, size, subject)
}

// encode is m for nats.go.
func encode(subject string, m bus.Message) *nats.Msg {
	msg := &nats.Msg{Subject: subject, Data: m.Data}
	if m.Epoch != 0 {
		msg.Header = nats.Header{
			bus.EpochHeader: {strconv.FormatUint(m.Epoch, 10)},
			bus.SeqHeader:   {strconv.FormatUint(m.Seq, 10)},
		}
	}
	return msg
}

// appendMessage appends m as NATS's client protocol has it: PUB, or HPUB where there
// are headers.
func appendMessage(dst []byte, subject string, m bus.Message) []byte {
	var room [headerSize]byte
	header, verb := room[:0], "PUB "
	if m.Epoch != 0 {
		verb = "HPUB "
		header = strconv.AppendUint(append(header, "NATS/1.0\r\n"+bus.EpochHeader+": "...), m.Epoch, 10)
		header = strconv.AppendUint(append(header, "\r\n"+bus.SeqHeader+": "...), m.Seq, 10)
		header = append(header, "\r\n\r\n"...)
	}
	dst = append(append(append(dst, verb...), subject...), ' ')
	if len(header) > 0 {
		dst = append(strconv.AppendInt(dst, int64(len(header)), 10), ' ')
	}
	dst = append(strconv.AppendInt(dst, int64(len(header)+len(m.Data)), 10), "\r\n"...)
	return append(append(append(dst, header...), m.Data...), "\r\n"...)
}
