package natsbus

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

const (
	// intakeMessages are more than one read of nats.go's brings, 32 KB, however small
	// they are; with TLS two. With WebSocket a read may bring all that waited at the
	// broker: what finds no room then is lost, and told of.
	intakeMessages = 4096
	// nap is how long what neighbours say waits to be read, on a server to which they
	// have much to say.
	nap = time.Millisecond
	// fewLines in that time, of lineSize bytes each and one a message at least, are not
	// much: what comes of clients that report one after the other, each once the last
	// report is known everywhere, is less.
	fewLines = 10
	lineSize = 100
	// overrun is how long there may be more to read at once before what was received
	// is passed on all the same. While a server gets more than it can take in, what comes
	// next mostly replaces what is to be passed on, or tells that a neighbour knows it.
	overrun = 50 * time.Millisecond
)

// intake takes in what neighbours say. The goroutine in which nats.go reads puts the
// messages of a read into one channel, of all subscriptions in the order in which they
// came; before it reads again it receives them, so that nothing changes goroutines
// between the wire and the map, and what a slow receiver keeps us from reading waits at
// the broker.
//
// Being woken to read one message costs what tens of lines cost, so messages that come
// closely are read together: the goroutine naps before it reads on.
type intake struct {
	messages chan *nats.Msg
	from     map[string]edge // by subject; not changed

	mu   sync.Mutex // held while messages are received
	over bool       // they are not any more

	// Of the goroutine that reads:

	busy  bool // much came in the last nap or more
	since time.Time
	lines int

	unsettled bool // messages were received since Received was called
	settled   time.Time
}

func newIntake(c Config) *intake {
	in := &intake{messages: make(chan *nats.Msg, intakeMessages), from: map[string]edge{}}
	for _, peer := range c.Neighbours {
		for _, lane := range bus.Lanes {
			in.from[c.Prefix.Between(lane, peer, c.Server)] = edge{peer, lane}
		}
	}
	return in
}

// end returns when nothing is received any more.
func (in *intake) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = true
}

// drop loses what has come and was not received. It is for the goroutine that reads
// next, while nobody does.
func (in *intake) drop() {
	in.unsettled = false // Connected will see to what was received
	for {
		select {
		case <-in.messages:
		default:
			return
		}
	}
}

// beforeRead receives what the reads of s brought until now. If there is no more to
// read at once, or has been for long, it says that all is received; and then it naps if
// there is reason to.
func (r *run) beforeRead(s *socket) {
	in := r.intake
	in.mu.Lock()
	lines := r.receive()
	now := time.Now()
	busy := lines > 0 && in.isBusy(lines, now)
	more := s.full && s.more()
	if in.settles(lines, more, now) && !in.over {
		r.handler.BatchEnd()
	}
	in.mu.Unlock()
	if busy && !more {
		s.nap()
	}
}

// settles takes note that lines were received, and whether there is more to read at
// once, and tells whether it is time for Received.
func (in *intake) settles(lines int, more bool, now time.Time) bool {
	in.unsettled = in.unsettled || lines > 0
	if !in.unsettled || more && now.Sub(in.settled) < overrun {
		return false
	}
	in.unsettled, in.settled = false, now
	return true
}

// receive receives all messages that have come, and returns how many lines they may
// have had. The intake's lock is held.
func (r *run) receive() (lines int) {
	for {
		select {
		case m := <-r.intake.messages:
			lines += 1 + len(m.Data)/lineSize
			if !r.intake.over {
				r.receiveOne(m)
			}
		default:
			return lines
		}
	}
}

func (r *run) receiveOne(m *nats.Msg) {
	if header := madeByBroker(m.Header); header != "" {
		r.deny(m.Subject, fmt.Sprintf("dropped a message on %q: its header %s shows that a broker made it", m.Subject, header))
		return
	}
	from := r.intake.from[m.Subject]
	r.handler.Receive(bus.Message{
		Lane: from.lane, Peer: from.peer, Data: m.Data,
		Epoch: number(m.Header, bus.EpochHeader), Seq: number(m.Header, bus.SeqHeader),
	})
}

// isBusy counts lines that were received, and tells whether many have come of late.
func (in *intake) isBusy(lines int, now time.Time) bool {
	in.lines += lines
	if elapsed := now.Sub(in.since); elapsed >= nap {
		in.busy = float64(in.lines) > fewLines*float64(elapsed)/float64(nap) // elapsed may be centuries
		in.since, in.lines = now, 0
	}
	return in.busy
}

// listen subscribes to all that neighbours say to us.
func (r *run) listen() error {
	for subject := range r.intake.from {
		if err := r.hear(subject); err != nil {
			return fmt.Errorf("subscribe %s: %w", subject, err)
		}
	}
	return nil
}

// hear subscribes to one subject of a neighbour.
func (r *run) hear(subject string) error {
	s, err := r.nc.ChanSubscribe(subject, r.intake.messages)
	if err == nil {
		r.heard[subject] = s
	}
	return err
}

// number reads a header; what is missing or no number is 0, which says "none".
func number(h nats.Header, key string) uint64 {
	n, err := strconv.ParseUint(h.Get(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
