package natsbus

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/batch"
	"herd/bus/printable"
)

const (
	// readerMessages may be between nats.go and the handler. One read of nats.go's, of
	// 32 KB, brings fewer, however small they are; with TLS two reads do. With WebSocket a
	// read may bring all that waited at the broker: if the channel is full, further
	// messages are lost, and ErrSlow reports that.
	readerMessages = 4096
	// coalesceDelay is how long messages wait to be read on a busy server, so that they
	// are read together, unless coalesceBytes have come.
	coalesceDelay = time.Millisecond
	coalesceBytes = 32 << 10
	// A server is busy that receives more than busyLines in coalesceDelay. Clients that
	// report one after the other, each once the last report is known everywhere, make
	// fewer. Lines are estimated: of lineSize bytes each, and at least one a message.
	busyLines = 10
	lineSize  = 100
	// maxDrain is how long one batch may last. While a server receives more than it can
	// handle, later messages often replace a queued record, or show that a neighbour has
	// it already.
	maxDrain = 50 * time.Millisecond
)

// reader hands the handler what neighbours send. The goroutine in which nats.go reads
// puts the messages of a read into one channel, of all subscriptions in the order in which
// they came. Before it reads again it drains the channel: so a message is handled in the
// goroutine that read it, and while the handler is slow, messages wait at the broker.
//
// To be woken for one message costs as much as to handle tens of lines. So on a busy
// server the goroutine waits before it reads on, while messages gather.
type reader struct {
	bus       *Bus
	strangers string // the subject of the subscription to all heartbeats
	handler   bus.Handler
	deny      func(subject, what string)
	messages  chan *nats.Msg

	mu     sync.Mutex // held while the handler runs
	closed bool       // the handler is not called any more
	load   batch.Meter
	open   openBatch
}

func newReader(b *Bus, h bus.Handler, deny func(subject, what string)) *reader {
	return &reader{
		bus: b, strangers: b.cfg.Prefix.Strangers(b.cfg.Server), handler: h, deny: deny,
		messages: make(chan *nats.Msg, readerMessages), load: batch.Meter{Window: coalesceDelay, Busy: busyLines},
	}
}

// close returns when the handler does not run, and will not any more.
func (r *reader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// drain hands the handler what the reads of s have brought. It ends the batch if nothing
// more can be read at once, or if the batch has lasted too long. On a busy server it then
// waits for coalesceDelay. It is called before each read of s. During a handshake nc.mu is
// held, but then the channel is empty: nothing is subscribed to yet.
func (r *reader) drain(s *socket) {
	r.mu.Lock()
	lines := r.receive()
	now := time.Now()
	if lines > 0 {
		r.load.Add(lines, now)
		r.open.any = true
	}
	more := s.full && s.readable()
	if r.open.due(more, now) {
		r.open.end(now)
		if !r.closed {
			r.handler.BatchEnd()
		}
	}
	wait := lines > 0 && r.load.IsBusy() && !more
	r.mu.Unlock()
	if wait {
		s.coalesce()
	}
}

// receive hands the handler all messages in the channel, and returns an estimate of their
// lines. r.mu must be held.
func (r *reader) receive() (lines int) {
	for {
		select {
		case m := <-r.messages:
			lines += 1 + len(m.Data)/lineSize
			if !r.closed {
				r.receiveOne(m)
			}
		default:
			return lines
		}
	}
}

func (r *reader) receiveOne(m *nats.Msg) {
	if header := brokerHeader(m.Header); header != "" {
		r.deny(m.Subject, fmt.Sprintf("dropped a message on %q: its header %s shows that a broker made it", m.Subject, printable.Clip(header, 80)))
		return
	}
	from, neighbour := r.bus.edges.Load().in[m.Subject]
	// A neighbour's heartbeat comes by two subscriptions. The one that its other messages
	// come by keeps their order.
	if m.Sub != nil && m.Sub.Subject == r.strangers {
		sender := r.bus.cfg.stranger(m.Subject)
		if neighbour || sender == "" {
			return
		}
		from = channel{sender, bus.Heartbeat}
	} else if !neighbour {
		return // not any more
	}
	if len(m.Data) == 0 && len(m.Header) == 0 && from.lane != bus.Heartbeat {
		return // a neighbour tries whether it may publish: connection.republish
	}
	r.handler.Receive(bus.Message{
		Lane: from.lane, Peer: from.peer, Data: m.Data,
		Epoch: number(m.Header, bus.EpochHeader), Seq: number(m.Header, bus.SeqHeader),
	})
}

// brokerHeader is the header of a message that shows that a broker made it and no
// neighbour did, or "". A broker does that on request, on a subject that the requester
// chose. Headers that ask for a trace do not show that: people add them, to follow a
// message.
func brokerHeader(h nats.Header) string {
	for key := range h {
		if strings.HasPrefix(key, "Nats-") && !strings.HasPrefix(key, "Nats-Trace-") {
			return key
		}
	}
	return ""
}

// number is a header's number, or 0 where there is none.
func number(h nats.Header, key string) uint64 {
	n, err := strconv.ParseUint(h.Get(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// openBatch is the messages after which BatchEnd is called once.
type openBatch struct {
	any     bool // there are some
	lastEnd time.Time
}

// due reports whether it is time for the end of the batch; more is whether there is more
// to read at once.
func (b *openBatch) due(more bool, now time.Time) bool {
	return b.any && (!more || now.Sub(b.lastEnd) >= maxDrain)
}

func (b *openBatch) end(now time.Time) { b.any, b.lastEnd = false, now }
