package replica

import (
	"time"

	"herd/node/wire"
)

// sequence follows the numbered messages of one sender on one edge. The bus keeps their
// order, so a message that was sent before one that arrived, and did not arrive itself,
// is lost. The zero sequence has seen none.
type sequence struct {
	seen   wire.Mark // last message known to have been sent
	merged wire.Mark // all messages up to this one have been merged

	raised time.Time // when seen last rose
}

// arrived notes that message m arrived. It returns the number of messages before it that
// are now known to be lost.
func (s *sequence) arrived(m wire.Mark, now time.Time) (lost uint64) {
	return s.note(m, s.seen.Seq+1, now)
}

// announced notes, from a heartbeat, that m is the last message that was sent. If more was
// seen long before, that was not sent by the neighbour, and hid losses.
func (s *sequence) announced(m wire.Mark, now time.Time) (lost uint64) {
	if m.Epoch == s.seen.Epoch && m.Seq < s.seen.Seq && now.Sub(s.raised) >= maxReorder {
		s.seen, s.raised, s.merged = m, now, wire.Mark{Epoch: m.Epoch}
		return 1
	}
	return s.note(m, s.seen.Seq, now)
}

const (
	// maxReorder is longer than a heartbeat can be on its way while frames overtake it.
	maxReorder = 2 * HeartbeatEvery
	// maxFrameRate is more frames a second than a server can send on an edge.
	maxFrameRate = 1 << 20
	// maxSeq is more frames than a server can send in its life. Below it, sums and differences do not overflow.
	maxSeq = 1 << 56
)

// plausible reports whether the sender can have sent m after what was seen.
func (s *sequence) plausible(m wire.Mark, now time.Time) bool {
	if m.Seq > maxSeq {
		return false
	}
	if m.Epoch != s.seen.Epoch || m.Seq <= s.seen.Seq {
		return true
	}
	return float64(m.Seq-s.seen.Seq) <= maxFrameRate*(1+now.Sub(s.raised).Seconds())
}

func (s *sequence) note(m wire.Mark, expected uint64, now time.Time) (lost uint64) {
	if m.Epoch != s.seen.Epoch || m.Seq > s.seen.Seq {
		s.raised = now
	}
	complete := s.merged == s.seen
	if m.Epoch != s.seen.Epoch { // first contact with this epoch: what was sent before was not for us
		s.seen = m
	} else {
		if m.Seq > expected {
			lost = m.Seq - expected
		}
		s.seen.Seq = max(s.seen.Seq, m.Seq)
	}
	if m.Epoch != s.merged.Epoch || complete && lost == 0 {
		s.merged = s.seen
	}
	return lost
}

// refused says that records of message m, which has just arrived, were not merged.
func (s *sequence) refused(m, before wire.Mark) {
	if s.merged = before; before.Epoch != m.Epoch {
		s.merged = wire.Mark{Epoch: m.Epoch}
	}
}

// repaired says that nothing is missing any more.
func (s *sequence) repaired() { s.merged = s.seen }
