package node

import (
	"bytes"
	"context"
	"log/slog"

	"herd/bus"
	"herd/node/replica"
)

// At level debug the log follows each record: where a client reported it, each edge that
// it left and arrived on, and the result of merging it. The line is the same at each
// step. The message's number connects the two ends of an edge.

// mergedRecord is a record that was merged while the lock was held, to be logged after.
type mergedRecord = replica.Merged

// traceMerges is replica.Config.OnMerge: it collects what is merged if the log is at
// level debug.
func (n *Node) traceMerges() func(replica.Merged) {
	if !n.log.Enabled(context.Background(), slog.LevelDebug) {
		return nil
	}
	return func(m replica.Merged) {
		m.Line = bytes.Clone(m.Line)
		n.merged = append(n.merged, m)
	}
}

// takeMerged is what was merged since the lock was taken. The lock is held.
func (n *Node) takeMerged() []mergedRecord {
	m := n.merged
	n.merged = nil
	return m
}

// traceMerged logs what was merged. source is attributes that say where it came from.
func (n *Node) traceMerged(merged []mergedRecord, message string, source ...any) {
	for _, m := range merged {
		n.log.With(source...).Debug(message, "outcome", m.Outcome.String(), "line", string(m.Line))
	}
}

// logSent logs the records of messages that were sent, to the traffic log and at level
// debug.
func (n *Node) logSent(messages []bus.Message) {
	debug := n.log.Enabled(context.Background(), slog.LevelDebug)
	if n.traffic == nil && !debug {
		return
	}
	for _, m := range messages {
		n.logRecords("edge out", m)
		if !debug {
			continue
		}
		for line := range bytes.Lines(m.Data) {
			n.log.Debug("record out", "edge", m.Peer, "number", m.Seq, "line", string(bytes.TrimSuffix(line, []byte("\n"))))
		}
	}
}

// logRecords writes the records of a message to the traffic log.
func (n *Node) logRecords(what string, m bus.Message) {
	if n.traffic == nil {
		return
	}
	for line := range bytes.Lines(m.Data) {
		n.traffic.write(what, m.Peer, bytes.TrimSuffix(line, []byte("\n")))
	}
}
