package node

import (
	"bytes"
	"context"
	"log/slog"

	"herd/node/replica"
)

// At level debug the log follows each record on its way: where a client reported it,
// out over each edge, in at the other end, and what it came to there. The record's
// line is the same at every step; the message's number joins the two ends of one
// crossing.

// followed is what the replica merged while its lock was held, for the log.
type followed []replica.Step

// follow makes the replica tell of each merge, where the log wants to know.
func (n *Node) follow() func(replica.Step) {
	if !n.log.Enabled(context.Background(), slog.LevelDebug) {
		return nil
	}
	return func(s replica.Step) {
		s.Line = bytes.Clone(s.Line)
		n.followed = append(n.followed, s)
	}
}

// takeFollowed is what was merged since the lock was taken. The lock is held.
func (n *Node) takeFollowed() followed {
	f := n.followed
	n.followed = nil
	return f
}

// traceIn logs what was merged. who says where it came from.
func (n *Node) traceIn(f followed, what string, who ...any) {
	for _, s := range f {
		n.log.Debug(what, append(who[:len(who):len(who)], "outcome", s.Outcome.String(), "line", string(s.Line))...)
	}
}

// traceOut logs the records of a message that was sent.
func (n *Node) traceOut(peer string, number uint64, frame []byte) {
	if !n.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	for line := range bytes.Lines(frame) {
		n.log.Debug("record out", "edge", peer, "number", number, "line", string(bytes.TrimSuffix(line, []byte("\n"))))
	}
}
