package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"herd/bus"
	"herd/bus/plural"
	"herd/bus/printable"
	"herd/bus/ratenote"
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
	malformed ratenote.Limiter // lines, by neighbour
	tooLarge  ratenote.Limiter // records
	busy      ratenote.Limiter // requests of tools that were refused, by endpoint

	mu     sync.Mutex // guards counts; no other lock is taken while it is held
	counts map[replica.Kind]uint64
}

func newEvents() *events { return &events{counts: map[replica.Kind]uint64{}} }

// byKind is the number of events so far.
func (e *events) byKind() map[replica.Kind]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.counts)
}

// maxEventText is how many bytes of an event's text are reported. It may quote what a
// neighbour or the broker sent.
const maxEventText = 1000

// emit reports events: to the log, the traffic log and the bus. Their text becomes one
// printable line.
func (n *Node) emit(events []replica.Event) {
	for _, e := range events {
		e.Text = printable.Clip(e.Text, maxEventText)
		attributes := []any{"text", e.Text}
		if e.Peer != "" {
			attributes = append(attributes, "edge", e.Peer)
		}
		message := logMessage(e.Kind)
		n.log.Log(context.Background(), n.level(e), message, attributes...)
		if n.traffic != nil {
			n.traffic.write(message, e.Peer, []byte(e.Text))
		}
		n.publish(e)
	}
}

// level is the level at which the log has an event.
func (n *Node) level(e replica.Event) slog.Level {
	if e.Recovered {
		return slog.LevelInfo
	}
	switch e.Kind {
	case kindStart, kindStop: // Run logs both
		return slog.LevelDebug
	case replica.Up, replica.Repair:
		return slog.LevelInfo
	case replica.Down:
		return n.downLevel()
	case replica.Mismatch, kindDenied:
		return slog.LevelError
	}
	return slog.LevelWarn
}

// downLevel is the level at which the log has it that a neighbour is down: it is no fault
// while this server stops, perhaps together with the whole herd.
func (n *Node) downLevel() slog.Level {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopRequested != nil && n.stopRequested() != nil {
		return slog.LevelInfo
	}
	return slog.LevelWarn
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
	n.events.malformed.Note(peer, fmt.Sprintf("%.80q", last), lines)
	n.reportRepeated()
}

// noteTooLarge counts records that were not sent because NATS takes no message of their
// size.
func (n *Node) noteTooLarge(records int) {
	n.events.tooLarge.Note("", "", records)
	n.reportRepeated()
}

// reportRepeated reports what was noted: at once, and then once a second with a count.
func (n *Node) reportRepeated() {
	now := time.Now()
	for _, r := range n.events.malformed.Due(now) {
		n.emit([]replica.Event{{Kind: replica.Mismatch, Peer: r.Key, Text: fmt.Sprintf(
			"dropped %s from %s, the last: %s", plural.Count(r.Count, "malformed line"), r.Key, r.Text)}})
	}
	for _, r := range n.events.tooLarge.Due(now) {
		n.log.Error("records not sent: they are larger than NATS's max_payload", "records", r.Count)
	}
	for why := range refusalKinds {
		n.reportRefusals(why, now)
	}
	for _, r := range n.events.busy.Due(now) {
		n.log.Warn("requests refused: too many", "endpoint", r.Key, "requests", r.Count)
	}
}
