package node

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"herd/bus"
	"herd/node/replica"
)

// The kinds of events that a server finds by itself, beside the replica's.
const (
	kindStart   replica.Kind = "start"
	kindStop    replica.Kind = "stop"
	kindDenied  replica.Kind = "denied"
	kindJournal replica.Kind = "journal"
)

// kinds is all kinds of events.
var kinds = []replica.Kind{kindStart, kindStop, replica.Up, replica.Down, replica.Gap, replica.Repair, kindDenied, replica.Clock, kindJournal, replica.Mismatch}

// kindOf is the kind of event for an error of the bus; "" for none.
func kindOf(err error) replica.Kind {
	switch {
	case errors.Is(err, bus.ErrSlow):
		return replica.Gap
	case errors.Is(err, bus.ErrDenied):
		return kindDenied
	}
	return ""
}

// events counts what was reported to operators, and limits how often malformed input is.
type events struct {
	mu        sync.Mutex // no other lock is taken while it is held
	counts    map[replica.Kind]uint64
	malformed map[string]*malformed // by neighbour
}

// malformed is the malformed lines of one neighbour that are not reported yet.
type malformed struct {
	count    int
	last     []byte
	reported time.Time // when some were
}

func newEvents() events {
	return events{counts: map[replica.Kind]uint64{}, malformed: map[string]*malformed{}}
}

// byKind is the number of events so far.
func (e *events) byKind() map[replica.Kind]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.counts)
}

// emit reports events: to the log, the traffic log and the bus.
func (n *Node) emit(events []replica.Event) {
	for _, e := range events {
		attributes := []any{"text", e.Text}
		if e.Peer != "" {
			attributes = append(attributes, "edge", e.Peer)
		}
		message := logMessage(e.Kind)
		switch e.Kind {
		case kindStart, kindStop: // Run logs both
			n.log.Debug(message, attributes...)
		case replica.Up, replica.Repair:
			n.log.Info(message, attributes...)
		case replica.Mismatch, kindDenied:
			n.log.Error(message, attributes...)
		default:
			n.log.Warn(message, attributes...)
		}
		if n.traffic != nil {
			n.traffic.write(message, e.Peer, []byte(e.Text))
		}
		n.publish(e)
	}
}

// publish counts an event and publishes it on the bus. While the bus is disconnected it
// is only counted.
func (n *Node) publish(e replica.Event) {
	n.events.mu.Lock()
	n.events.counts[e.Kind]++
	n.events.mu.Unlock()
	text := fmt.Sprintf("%s %s: %s", time.Now().UTC().Format(time.RFC3339Nano), n.cfg.Name, e.Text)
	if err := n.cfg.Bus.PublishEvent(string(e.Kind), e.Peer, text); err != nil {
		n.log.Debug("event not published", "kind", e.Kind, "err", err)
	}
}

// logMessage is how the logs call a kind of event.
func logMessage(k replica.Kind) string {
	switch k {
	case replica.Up:
		return "neighbour up"
	case replica.Down:
		return "neighbour down"
	}
	return string(k)
}

// noteMalformed counts malformed lines from a neighbour.
func (n *Node) noteMalformed(peer string, lines int, last []byte) {
	const sample = 80 // bytes
	n.events.mu.Lock()
	m := n.events.malformed[peer]
	if m == nil {
		m = &malformed{}
		n.events.malformed[peer] = m
	}
	m.count += lines
	m.last = append([]byte(nil), last[:min(sample, len(last))]...)
	n.events.mu.Unlock()
	n.reportMalformed()
}

// reportMalformed reports malformed lines, for each neighbour at most once a second.
func (n *Node) reportMalformed() {
	var events []replica.Event
	n.events.mu.Lock()
	for _, peer := range n.cfg.Neighbours {
		m := n.events.malformed[peer]
		if m == nil || m.count == 0 || time.Since(m.reported) < time.Second {
			continue
		}
		events = append(events, replica.Event{Kind: replica.Mismatch, Peer: peer, Text: fmt.Sprintf(
			"dropped %d malformed lines from %s, the last: %q", m.count, peer, m.last)})
		m.count, m.reported = 0, time.Now()
	}
	n.events.mu.Unlock()
	n.emit(events)
}
