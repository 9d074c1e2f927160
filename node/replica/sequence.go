package replica

import "herd/node/wire"

// sequence follows the numbered messages of one sender on one edge. The bus keeps their
// order, so a message that was sent before one that arrived, and did not arrive itself,
// is lost. The zero sequence has seen none.
type sequence struct {
	seen   wire.Mark // last message known to have been sent
	merged wire.Mark // all messages up to this one have been merged
}

// arrived notes that message m arrived. It returns the number of messages before it that
// are now known to be lost.
func (s *sequence) arrived(m wire.Mark) (lost uint64) { return s.note(m, s.seen.Seq+1) }

// announced notes, from a heartbeat, that m is the last message that was sent.
func (s *sequence) announced(m wire.Mark) (lost uint64) { return s.note(m, s.seen.Seq) }

func (s *sequence) note(m wire.Mark, expected uint64) (lost uint64) {
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

// repaired says that nothing is missing any more.
func (s *sequence) repaired() { s.merged = s.seen }
