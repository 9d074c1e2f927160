package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// The kinds of events that a server itself knows of, beside the replica's.
const (
	kindStart   replica.Kind = "start"
	kindStop    replica.Kind = "stop"
	kindDenied  replica.Kind = "denied"
	kindJournal replica.Kind = "journal"
)

// kinds is all there are.
var kinds = []replica.Kind{kindStart, kindStop, replica.Up, replica.Down, replica.Gap, replica.Repair, kindDenied, replica.Clock, kindJournal, replica.Mismatch}

// claiming is how long a client waits at most while the bus is asked whether
// another process has our name.
const claiming = 300 * time.Millisecond

// Receive takes in a message of a neighbour: bus.Handler.
func (n *Node) Receive(m bus.Message) {
	e, ok := n.edge[m.Peer]
	if !ok {
		return // the bus is asked for our neighbours' messages only
	}
	switch m.Lane {
	case bus.Records:
		n.receiveFrame(e, m)
	case bus.Heartbeat:
		n.receiveBeat(e, m)
	case bus.SyncRequest:
		n.answer(e, m)
	case bus.SyncReply:
		n.receiveAnswer(e, m)
	}
	n.repair()
}

func (n *Node) receiveFrame(e int, m bus.Message) {
	n.logRecords("edge in", m.Peer, m.Data)
	n.mu.Lock()
	in, events := n.replica.Frame(e, wire.Mark{Epoch: m.Epoch, Seq: m.Seq}, m.Data, time.Now())
	keptFromJournal := n.journal.keeping
	n.timeMoments(false)
	followed := n.takeFollowed()
	n.mu.Unlock()
	n.traceIn(followed, "record in", "edge", m.Peer, "number", m.Seq)
	if in.News > 0 && !keptFromJournal {
		n.journal.nudge()
	}
	if in.Bad > 0 {
		n.noticeJunk(e, in.Bad, in.LastBad)
	}
	n.tell(events)
}

// BatchEnd floods what neighbours brought: bus.Handler.
func (n *Node) BatchEnd() { n.passOn() }

func (n *Node) receiveBeat(e int, m bus.Message) {
	b, err := wire.ParseBeat(m.Data)
	if err != nil {
		n.noticeJunk(e, 1, m.Data)
		return
	}
	n.mu.Lock()
	events, answer := n.replica.Beat(e, b, time.Now())
	n.mu.Unlock()
	if answer {
		n.beat(e, wire.Beat{})
	}
	if len(events) > 0 {
		n.spread() // what has waited for it
		n.tell(events)
	}
}

// spread lets news go where it is wanted: to neighbours, and into the journal.
func (n *Node) spread() {
	n.flood.nudge()
	n.journal.nudge()
}

// Connected says whether the bus is there: bus.Handler.
func (n *Node) Connected(up bool) {
	limit := n.cfg.Bus.MaxData() // may wait for a connection that is being made
	n.mu.Lock()
	first := up && n.bus == unreached
	if !up {
		n.bus = away
		events := n.replica.BusAway()
		n.mu.Unlock()
		n.log.Warn("bus away")
		n.tell(events)
		return
	}
	n.bus = present
	n.replica.Limit(limit)
	n.mu.Unlock()
	for e := range n.cfg.Neighbours {
		n.beat(e, wire.Beat{Answer: true})
	}
	if first {
		n.tell([]replica.Event{{Kind: kindStart, Text: fmt.Sprintf("started, epoch %d", n.cfg.Epoch)}})
		for _, d := range n.damage { // which the log has told of already
			n.notify(replica.Event{Kind: kindJournal, Text: "the journal was damaged when it was opened: " + d})
		}
		n.reached.open()
	}
	n.spread()
}

// AsyncError takes in what the bus did not do: bus.Handler.
func (n *Node) AsyncError(peer string, err error) {
	switch {
	case errors.Is(err, bus.ErrSlow):
		if e, ok := n.edge[peer]; ok {
			n.mu.Lock()
			n.replica.Lost(e, time.Now())
			n.mu.Unlock()
			n.repair()
		}
		n.tell([]replica.Event{{Kind: replica.Gap, Peer: peer, Text: err.Error()}})
	case errors.Is(err, bus.ErrDenied):
		n.tell([]replica.Event{{Kind: kindDenied, Peer: peer, Text: err.Error()}})
	default:
		n.log.Warn("bus", "edge", peer, "err", err)
	}
}

// runPulse says each second on each edge that we live, and looks for neighbours
// that have fallen silent, until ctx ends.
func (n *Node) runPulse(ctx context.Context) {
	tick := time.NewTicker(replica.BeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for e := range n.cfg.Neighbours {
				n.beat(e, wire.Beat{})
			}
			n.mu.Lock()
			events := n.replica.Tick(now)
			n.mu.Unlock()
			n.tell(events)
			n.tellJunk()
			n.repair()
			n.spread() // what a send that failed has put back
		}
	}
}

// beat sends a beat over edge e, with the words of with in it. Nobody misses it
// while the bus is away.
func (n *Node) beat(e int, with wire.Beat) {
	n.mu.Lock()
	b := n.replica.Heartbeat(e, time.Now())
	quiet := n.goodbye && !with.Bye
	n.mu.Unlock()
	if quiet {
		return
	}
	b.Answer, b.Bye = with.Answer, with.Bye
	select {
	case <-n.ready.opened:
		b.Ready = true
	default:
	}
	if err := n.cfg.Bus.Send(bus.Message{Lane: bus.Heartbeat, Peer: n.cfg.Neighbours[e], Data: b.Append(nil)}); err != nil {
		n.log.Debug("beat", "edge", n.cfg.Neighbours[e], "err", err)
	}
}

// handOver returns when all that was news until now has been written to the
// neighbours that are up and they have said that they merged it; what comes in
// meanwhile is relayed, and not waited for. It is an error if that is not so when
// ctx ends.
func (n *Node) handOver(ctx context.Context) error {
	const again = 20 * time.Millisecond // how often they are asked
	until, _ := ctx.Deadline()
	n.mu.Lock()
	n.replica.PresumeNothing()
	n.mu.Unlock()
	wanted := n.wanted()
	sent := false
	var marks []uint64 // once it is sent: of the last frames with it
	for {
		if !sent && n.await(&n.flood, wanted, newSeat(), time.Until(until)) {
			n.mu.Lock()
			if sent = !n.flood.failed; sent {
				marks = n.replica.Marks()
			}
			n.mu.Unlock()
		}
		n.mu.Lock()
		unsent, kept := n.replica.Kept()
		unconfirmed, unsendable := len(n.cfg.Neighbours), n.unsendable
		if sent {
			unsent, unconfirmed = 0, n.replica.Unconfirmed(marks)
		}
		n.mu.Unlock()
		switch {
		case sent && unconfirmed == 0:
			if unsendable > 0 {
				return fmt.Errorf("%d records were too large for the bus", unsendable)
			}
			if kept > 0 {
				n.log.Warn("records not handed over: the neighbours that lack them are away", "records", kept)
			}
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%d records not sent, and %d neighbours have not confirmed all that was, %v after the stop began", unsent, unconfirmed, grace)
		}
		if !sent {
			n.retryFlood()
		}
		for e := range n.cfg.Neighbours {
			n.beat(e, wire.Beat{Answer: true})
		}
		wait(ctx, nil, again)
	}
}

// sayGoodbye tells neighbours and operators that we stop, and keeps quiet from
// then on.
func (n *Node) sayGoodbye() {
	n.mu.Lock()
	n.goodbye = true
	n.mu.Unlock()
	for e := range n.cfg.Neighbours {
		n.beat(e, wire.Beat{Bye: true})
	}
	n.tell([]replica.Event{{Kind: kindStop, Text: "stopping"}})
}

// tell brings events to people: the life-cycle log, the traffic log, the bus.
func (n *Node) tell(events []replica.Event) {
	for _, e := range events {
		about := []any{"text", e.Text}
		if e.Peer != "" {
			about = append(about, "edge", e.Peer)
		}
		what := title(e.Kind)
		switch e.Kind {
		case kindStart, kindStop: // Run logs more of both
			n.log.Debug(what, about...)
		case replica.Up, replica.Repair:
			n.log.Info(what, about...)
		case replica.Mismatch, kindDenied:
			n.log.Error(what, about...)
		default:
			n.log.Warn(what, about...)
		}
		if n.traffic != nil {
			n.traffic.write(what, e.Peer, []byte(e.Text))
		}
		n.notify(e)
	}
}

// notify publishes an event, and counts it also where the bus is away.
func (n *Node) notify(e replica.Event) {
	n.mu.Lock()
	n.events[e.Kind]++
	n.mu.Unlock()
	text := fmt.Sprintf("%s %s: %s", time.Now().UTC().Format(time.RFC3339Nano), n.cfg.Name, e.Text)
	if err := n.cfg.Bus.PublishEvent(string(e.Kind), e.Peer, text); err != nil {
		n.log.Debug("event not published", "kind", e.Kind, "err", err)
	}
}

// title is what the logs call a kind of event.
func title(k replica.Kind) string {
	switch k {
	case replica.Up:
		return "neighbour up"
	case replica.Down:
		return "neighbour down"
	}
	return string(k)
}

// junk is the account of what came over one edge and was no record or beat.
// Guarded by Node.mu.
type junk struct {
	count int       // of lines not yet told of
	last  []byte    // of them
	told  time.Time // when there was told of some
}

// noticeJunk counts bad lines over edge e.
func (n *Node) noticeJunk(e, lines int, last []byte) {
	const sample = 80 // bytes to show
	n.mu.Lock()
	n.junk[e].count += lines
	n.junk[e].last = append([]byte(nil), last[:min(sample, len(last))]...)
	n.mu.Unlock()
	n.tellJunk()
}

// tellJunk tells of bad lines, of each edge once a second at most: whoever sends
// junk is not to fill our logs.
func (n *Node) tellJunk() {
	var events []replica.Event
	n.mu.Lock()
	for e, peer := range n.cfg.Neighbours {
		j := &n.junk[e]
		if j.count == 0 || time.Since(j.told) < time.Second {
			continue
		}
		events = append(events, replica.Event{Kind: replica.Mismatch, Peer: peer, Text: fmt.Sprintf(
			"dropped what is of no format of ours: lines from %s, %d, the last %q", peer, j.count, j.last)})
		*j = junk{told: time.Now()}
	}
	n.mu.Unlock()
	n.tell(events)
}
