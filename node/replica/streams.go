package replica

import (
	"errors"
	"slices"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// MaxStreams is how many streams a server has at most.
const MaxStreams = 64

// Errors of OpenStream.
var (
	ErrTooManyStreams = errors.New("the server has as many streams as it may")
	ErrStreamExists   = errors.New("the stream exists already")
)

// streams is what followers are sent.
type streams struct {
	open     []*Stream
	turn     int    // whose frame is next
	tooLarge uint64 // records that were left out because the bus takes no message of their size
}

// StreamFrame is a frame for a follower.
type StreamFrame struct {
	To    string
	Data  []byte    // lines, each with its LF
	Mark  wire.Mark // zero for no frame
	Lines int
	// SnapshotEnd says that the snapshot ends with this frame.
	SnapshotEnd bool
	// End says that the stream ends with this frame.
	End bool
}

// OpenStream opens a stream.
func (r *Replica) OpenStream(cfg StreamConfig, now time.Time) error {
	switch {
	case r.stream(cfg.ID) != nil:
		return ErrStreamExists
	case len(r.streams.open) >= MaxStreams:
		return ErrTooManyStreams
	}
	r.streams.open = append(r.streams.open, r.newStream(cfg, now))
	r.streamWaits()
	return nil
}

// stream is the stream of an ID; nil for none.
func (r *Replica) stream(id string) *Stream {
	for _, s := range r.streams.open {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// ConfirmStream notes that the follower of a stream lives, and has received all frames up to a number. It
// reports whether there is such a stream.
func (r *Replica) ConfirmStream(id string, seq uint64, now time.Time) bool {
	s := r.stream(id)
	if s == nil {
		return false
	}
	s.confirm(seq, now)
	r.streamWaits()
	return true
}

// EndStream ends a stream, and reports whether there was one.
func (r *Replica) EndStream(id string) bool {
	before := len(r.streams.open)
	r.streams.open = slices.DeleteFunc(r.streams.open, func(s *Stream) bool { return s.ID == id })
	return len(r.streams.open) < before
}

// EndStreams ends all streams, and returns a last frame for each, which says so. It need not be sent: without it the follower notices
// that nothing comes any more.
func (r *Replica) EndStreams() (last []StreamFrame) {
	for _, s := range r.streams.open {
		last = append(last, StreamFrame{To: s.To, Mark: wire.Mark{Epoch: r.cfg.Epoch, Seq: s.seq}, End: true})
	}
	r.streams.open = nil
	return last
}

// Streams is the number of streams, and of those whose window is full.
func (r *Replica) Streams() (open, blocked int) {
	for _, s := range r.streams.open {
		if s.blocked {
			blocked++
		}
	}
	return len(r.streams.open), blocked
}

// StreamsTooLarge is how often a record was left out of a stream because the bus takes no message of its
// size.
func (r *Replica) StreamsTooLarge() uint64 { return r.streams.tooLarge }

// noteForStreams marks a client's new record for all streams.
func (r *Replica) noteForStreams(id store.ID) {
	first := false
	for _, s := range r.streams.open {
		first = s.note(id) || first
	}
	if first {
		r.streamWaits()
	}
}

// streamWaits says that a stream may have a frame.
func (r *Replica) streamWaits() {
	if r.cfg.OnStream != nil {
		r.cfg.OnStream()
	}
}

// NextStreamFrame appends the next frame that is due to dst. Streams take turns. If none is due, the
// frame has the Mark zero, and the next call must be made at due: earlier only after
// Config.OnStream. Streams whose follower is gone end.
func (r *Replica) NextStreamFrame(dst []byte, now time.Time) (f StreamFrame, due time.Time) {
	r.streams.open = slices.DeleteFunc(r.streams.open, func(s *Stream) bool { return s.ended || s.lease.Before(now) })
	due = now.Add(streamHeartbeat)
	all := r.streams.open
	for i := range all {
		s := all[(r.streams.turn+i)%len(all)]
		f, more := s.frame(dst, now)
		if f.Mark != (wire.Mark{}) || more {
			r.streams.turn = (r.streams.turn + i + 1) % len(all)
			f.To = s.To
			return f, now
		}
		if at := s.due(now); at.Before(due) {
			due = at
		}
	}
	return f, due
}
