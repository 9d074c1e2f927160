package replica

import (
	"time"

	"herd/node/follow"
	"herd/node/store"
	"herd/node/wire"
)

const (
	// streamWindow is how many bytes of a stream's frames may be unconfirmed.
	streamWindow = 1 << 20
	// streamLease is how long a stream lives without a request of its follower.
	streamLease = 30 * time.Second
	// streamHeartbeat is the longest time without a frame: then one without lines is due.
	streamHeartbeat = time.Second
	// lookAtOnce is how many clients one call of NextStreamFrame looks at.
	lookAtOnce = 1024
)

// StreamConfig describes a stream.
type StreamConfig struct {
	ID     string
	To     string // where its frames go; the Replica does not use it
	Filter *follow.Filter
	// Dump ends the stream with the end of its snapshot.
	Dump bool
}

// Stream is what one follower is sent: a snapshot of the map, and then each change.
//
// Clients that changed are marked. A sweep looks at each marked client once, in the order of
// their IDs, and sends its newest record. The snapshot is the first sweep, for which all clients are
// marked. So a follower that stalls costs some bits for each client, whatever it misses.
type Stream struct {
	StreamConfig

	replica *Replica
	waiting marks // clients that the next sweep looks at; of one under way, from cursor on

	sweeping bool
	snapshot bool     // the sweep is the first
	cursor   store.ID // where the sweep goes on
	next     time.Time

	// The filter's decisions by name: of the clients below classified, those in named match.
	// Those in anew may have another client by now.
	classified store.ID
	named      bits
	anew       bits
	told       bits // with an area: clients whose last record that was sent is inside

	seq         uint64 // of the last frame
	unconfirmed []sentFrame
	bytes       int  // of unconfirmed
	blocked     bool // the next record does not fit into the window
	ended       bool // a dump that is complete
	lastFrame   time.Time
	lease       time.Time // its end
}

type sentFrame struct {
	seq   uint64
	bytes int
}

// newStream makes a stream that begins with its snapshot.
func (r *Replica) newStream(cfg StreamConfig, now time.Time) *Stream {
	s := &Stream{StreamConfig: cfg, replica: r, sweeping: true, snapshot: true, lastFrame: now, lease: now.Add(streamLease)}
	names, listed := cfg.Filter.Listed()
	if !listed {
		s.waiting = allMarks(int(r.store.End()))
		return s
	}
	for name := range names { // without a look at all others
		if id, known := r.store.Find([]byte(name)); known && cfg.Filter.Named([]byte(name)) {
			s.waiting.add(id)
			s.named.set(id)
		}
	}
	s.classified = r.store.End()
	return s
}

// note notes that a client's record has changed. It reports whether nothing waited before.
func (s *Stream) note(id store.ID) (first bool) {
	if s.ended || id < s.classified && s.Filter.ByName() && !s.named.has(id) && !s.anew.has(id) {
		return false
	}
	first = s.waiting.length == 0 && !s.sweeping
	s.waiting.add(id)
	return first
}

// due is when the stream has something to do. Before, only note and confirm change that.
func (s *Stream) due(now time.Time) time.Time {
	heartbeat := s.lastFrame.Add(streamHeartbeat)
	switch {
	case s.ended:
		return s.lease
	case s.blocked:
		return heartbeat
	case s.sweeping:
		return now
	case s.waiting.length > 0 && s.next.Before(heartbeat):
		return s.next
	}
	return heartbeat
}

// frame appends the stream's next frame to dst. Without any that is due, it has the Mark zero. more
// reports whether another call may have another frame at once.
func (s *Stream) frame(dst []byte, now time.Time) (f StreamFrame, more bool) {
	f.Data = dst
	if !s.sweeping && s.waiting.length > 0 && !s.next.After(now) {
		s.sweeping, s.cursor, s.next = true, 0, now.Add(s.Filter.Interval())
	}
	if s.sweeping && !s.blocked && !s.ended {
		f.Data, f.Lines = s.sweep(dst, now)
		f.SnapshotEnd = s.snapshot && !s.sweeping
	}
	more = s.sweeping && !s.blocked
	switch {
	case f.Lines > 0 || f.SnapshotEnd:
		s.seq++
		s.unconfirmed = append(s.unconfirmed, sentFrame{s.seq, len(f.Data) - len(dst)})
		s.bytes += len(f.Data) - len(dst)
	case more || s.ended || now.Sub(s.lastFrame) < streamHeartbeat:
		return f, more
	}
	s.lastFrame = now
	if f.SnapshotEnd {
		s.snapshot, s.ended = false, s.Dump
		s.next = now.Add(s.Filter.Interval())
	}
	f.Mark = wire.Mark{Epoch: s.replica.cfg.Epoch, Seq: s.seq}
	return f, more
}

// sweep appends the records of marked clients to dst, up to a frame, the window, or lookAtOnce clients.
func (s *Stream) sweep(dst []byte, now time.Time) (data []byte, lines int) {
	r, begin := s.replica, len(dst)
	for range lookAtOnce {
		id, ok := s.waiting.next(s.cursor)
		if !ok {
			s.sweeping = false
			return dst, lines
		}
		if !r.store.Holds(id) { // marked with all IDs, for the snapshot
			s.waiting.remove(id)
			s.cursor = id + 1
			continue
		}
		line := r.store.Line(id)
		size := len(dst) - begin + len(line) + 1
		switch {
		case s.bytes+size > streamWindow:
			s.blocked = true
			return dst, lines
		case lines > 0 && size > r.frameSize():
			return dst, lines
		}
		s.waiting.remove(id)
		s.cursor = id + 1
		tombstone := r.store.IsTombstone(id)
		switch unknown := !r.IsKnown(id, now); {
		case len(line)+1 > r.maxMessage:
			r.streams.tooLarge++
			if s.Filter.ByName() { // its next record may be small enough
				client, _ := r.store.ClientAndLocation(id)
				s.isNamed(id, client)
			}
		case s.Dump && unknown && !tombstone: // it is expired
		case unknown && !s.Dump:
			if s.mustForget(id) {
				client, _ := r.store.ClientAndLocation(id)
				dst = append(append(append(dst, follow.Unknown...), client...), '\n')
				lines++
			}
		case tombstone || s.wants(id):
			dst = append(append(dst, line...), '\n')
			lines++
		}
	}
	return dst, lines
}

// mustForget reports whether the follower must learn that a client is unknown from now on.
func (s *Stream) mustForget(id store.ID) bool {
	client, _ := s.replica.store.ClientAndLocation(id)
	switch {
	case s.Filter.ByName() && !s.isNamed(id, client), s.snapshot:
		return false
	case s.Filter.ByArea():
		return s.told.clear(id)
	}
	return true
}

// isNamed reports whether a client matches the filter by name.
func (s *Stream) isNamed(id store.ID, client []byte) bool {
	isNew := id >= s.classified // a sweep comes to new IDs in their order
	if isNew {
		s.classified = id + 1
	}
	if s.anew.clear(id) || isNew {
		if s.Filter.Named(client) {
			s.named.set(id)
		}
	}
	return s.named.has(id)
}

// removed notes that a client's record is removed from the map, so that another client may get its ID. If the client was sent,
// and the line that it is unknown was not, the stream ends: the follower must open another.
func (s *Stream) removed(id store.ID) {
	if s.waiting.members.has(id) {
		s.waiting.remove(id)
		told := !s.snapshot || id < s.cursor
		if s.Filter.ByArea() {
			told = s.told.has(id)
		}
		s.ended = s.ended || told && !s.Dump
	}
	s.named.clear(id)
	s.told.clear(id)
}

// mayBeNew notes that an ID may have another client than before.
func (s *Stream) mayBeNew(id store.ID) {
	if s.Filter.ByName() { // also of an ID that the sweep has passed while nobody had it
		s.anew.set(id)
	}
}

// wants reports whether the follower gets a client's record.
func (s *Stream) wants(id store.ID) bool {
	f := s.Filter
	if !f.ByName() && !f.ByArea() {
		return true
	}
	client, location := s.replica.store.ClientAndLocation(id)
	switch {
	case f.ByName() && !s.isNamed(id, client):
		return false
	case !f.ByArea():
		return true
	}
	told := s.told.has(id)
	lat, lon, known := wire.ParsePosition(location)
	inside := known && f.Inside(lat, lon)
	switch {
	case inside:
		s.told.set(id)
	case told:
		s.told.clear(id)
	}
	return inside || told
}

// confirm notes that the follower has received all frames up to a number. A number that no frame has had yet says nothing.
func (s *Stream) confirm(seq uint64, now time.Time) {
	if seq > s.seq {
		return
	}
	s.lease = now.Add(streamLease)
	confirmed := 0
	for confirmed < len(s.unconfirmed) && s.unconfirmed[confirmed].seq <= seq {
		s.bytes -= s.unconfirmed[confirmed].bytes
		confirmed++
	}
	if confirmed > 0 {
		s.unconfirmed = append(s.unconfirmed[:0], s.unconfirmed[confirmed:]...)
		s.blocked = false
	}
}
