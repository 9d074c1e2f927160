package store

import (
	"bytes"
	"iter"

	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// ID numbers the clients of one Map from 0. An ID stays valid until its record is removed and
// the ID is released (remove.go): then it may be given to another client.
type ID uint32

// Outcome is the result of merging a record.
type Outcome uint8

// The outcomes. Only News changes a map.
const (
	Stale     Outcome = iota // the map holds a record that wins over this one
	Duplicate                // the map holds this very record
	News                     // the record won and was stored
	Refused                  // the record would win, but there is no room for it: see SetLimit
)

// Outcomes is the number of outcomes.
const Outcomes = 4

func (o Outcome) String() string { return [...]string{"stale", "duplicate", "news", "refused"}[o] }

// Map holds, for each client, the record that wins. Merging is commutative, associative
// and idempotent: maps that merged the same records in any order are equal. The zero
// Map is empty and ready to use. Records leave it only by Remove.
//
// For each record it keeps the line, in an arena, and an entry of 40 bytes without
// pointers. Everything else can be parsed from the line.
type Map struct {
	index     index
	entries   [][]entry // pages of pageSize entries, by ID
	pages     slab[entry]
	end       int // IDs that were ever given; see End
	forgotten int // records that are tombstones
	expired   int // other records that are marked as expired
	marked    int // all records that are marked as expired
	lines     arena
	digests   *digests // nil while the map is empty
	size      int64    // bytes of all lines, each with an LF
	base      int64    // see SetLimit
	limit     int64    // of Bytes; 0 for none
	batch     batch
	floor     int64 // see SetFloor; 0 for none
	removal   removal
}

type entry struct {
	hash         uint64 // of the line, for the digests
	line         ref
	sec          int64 // effective time, which decides most merges
	nsec         int32
	length       uint32 // of the line
	clientOffset uint32 // in the line; with the flags
	next         ID     // the next entry of the same bucket, see digests.first; or of the free ones of its page
}

// Flags in entry.clientOffset. Offsets are less.
const (
	tombstoneBit = 1 << 31 // the record is a tombstone
	expiredBit   = 1 << 30 // the record was marked by MarkExpired
	flags        = tombstoneBit | expiredBit
)

func (e *entry) isTombstone() bool { return e.clientOffset&tombstoneBit != 0 }

// holds reports whether the entry has a record: else it was removed.
func (e *entry) holds() bool { return e.length > 0 }

// client is where the client begins in the line.
func (e *entry) client() uint32 { return e.clientOffset &^ flags }

// pageSize is the number of entries per allocation. A map grows by pages, so it never
// copies its entries.
const pageSize = 1 << 10

func (m *Map) entry(id ID) *entry { return &m.entries[id/pageSize][id%pageSize] }

// Line is the record's line of id, without LF. It is valid until the next merge.
func (m *Map) Line(id ID) []byte {
	e := m.entry(id)
	return m.lines.at(e.line, e.length)
}

// Hash is the hash of the record's line of id. It changes whenever the record does; it is 0 if the record was
// removed.
func (m *Map) Hash(id ID) uint64 {
	if !m.Holds(id) {
		return 0
	}
	return m.entry(id).hash
}

// Effective is the effective time of the record of id.
func (m *Map) Effective(id ID) wire.Instant {
	e := m.entry(id)
	return wire.Instant{Sec: e.sec, Nsec: e.nsec}
}

// Receipt is when the origin of the record of id received it. It parses the line.
func (m *Map) Receipt(id ID) wire.Instant {
	r, err := wire.ParseRecord(m.Line(id))
	if err != nil {
		panic("the map holds a line that is not a record: " + string(m.Line(id))) // only parsed records are stored
	}
	return r.Receipt
}

// Merge stores r if it wins. It copies r's bytes.
func (m *Map) Merge(r wire.Record) (ID, Outcome) {
	indexHash, lineHash := clientHash(r.Client()), xxhash.Sum64(r.Line)
	id, known := m.find(r.Client(), indexHash)
	if !known {
		return m.add(r, indexHash, lineHash)
	}
	return id, m.update(id, r, lineHash)
}

// MergeLines merges the record of each non-empty line of frame. The LF of the last line
// is optional. done gets the result of each line, or the error of a line that is no record.
// A line that the map holds already, byte for byte, is not parsed: about half of the
// lines that arrive over edges are such duplicates.
func (m *Map) MergeLines(frame []byte, done func(line []byte, id ID, outcome Outcome, err error)) {
	for len(frame) > 0 {
		frame = m.batch.fill(frame)
		m.prefetch()
		for i := range m.batch.lines[:m.batch.length] {
			l := &m.batch.lines[i]
			id, outcome, err := m.mergeLine(l)
			done(l.header.Line, id, outcome, err)
		}
	}
}

func (m *Map) mergeLine(l *batchLine) (ID, Outcome, error) {
	if l.err != nil {
		return 0, Stale, l.err
	}
	id, known := m.find(l.header.Client(), l.indexHash)
	if known && m.entry(id).hash == l.lineHash && bytes.Equal(m.Line(id), l.header.Line) {
		return id, Duplicate, nil
	}
	r, err := l.header.Parse()
	switch {
	case err != nil:
		return 0, Stale, err
	case known:
		return id, m.update(id, r, l.lineHash), nil
	}
	id, outcome := m.add(r, l.indexHash, l.lineHash)
	return id, outcome, nil
}

// update merges a record of a known client.
func (m *Map) update(id ID, r wire.Record, lineHash uint64) Outcome {
	e := m.entry(id)
	switch c := r.Effective.Compare(wire.Instant{Sec: e.sec, Nsec: e.nsec}); {
	case c < 0:
		return Stale
	case c == 0:
		held := m.Line(id)
		other, err := wire.ParseRecord(held)
		if err != nil {
			panic("the map holds a line that is not a record: " + string(held)) // only parsed records are stored
		}
		if c := wire.Compare(r, other); c < 0 {
			return Stale
		} else if c == 0 {
			return Duplicate
		}
	}
	if m.tooOld(r) {
		return Stale
	}
	if !r.IsTombstone() && !m.hasRoomToReplace(e, len(r.Line)) {
		return Refused
	}
	m.replace(e, r, lineHash)
	return News
}

// Replace stores a record in place of that of id, which is of the same client, whatever their ranks.
func (m *Map) Replace(id ID, r wire.Record) { m.replace(m.entry(id), r, xxhash.Sum64(r.Line)) }

func (m *Map) replace(e *entry, r wire.Record, lineHash uint64) {
	m.digests.change(bucketOf(r.Client()), e.hash^lineHash)
	m.size += int64(len(r.Line)) - int64(e.length)
	e.line = m.lines.replace(e.line, e.length, r.Line)
	m.set(e, r, lineHash)
}

// add stores the first record of a client. If it does not, the ID is meaningless.
func (m *Map) add(r wire.Record, indexHash, lineHash uint64) (ID, Outcome) {
	if m.tooOld(r) {
		return 0, Stale
	}
	if !m.hasRoomToAdd(len(r.Line), r.IsTombstone()) {
		return 0, Refused
	}
	if m.digests == nil {
		m.digests = new(digests)
	}
	id := m.newID()
	m.index.add(indexHash, id)
	bucket := bucketOf(r.Client())
	e := m.entry(id)
	e.line = m.lines.add(r.Line)
	m.set(e, r, lineHash)
	e.next = m.digests.first[bucket]
	m.digests.first[bucket] = id + 1
	m.digests.change(bucket, lineHash)
	m.size += int64(len(r.Line)) + 1
	return id, News
}

// set fills an entry's fields from r. The line is stored already.
func (m *Map) set(e *entry, r wire.Record, lineHash uint64) {
	if e.clientOffset&flags != 0 {
		m.unflag(e)
	}
	e.hash, e.length, e.clientOffset = lineHash, uint32(len(r.Line)), uint32(r.ClientOffset())
	e.sec, e.nsec = r.Effective.Sec, r.Effective.Nsec
	if r.IsTombstone() {
		e.clientOffset |= tombstoneBit
		m.forgotten++
	}
}

// find is the ID of a client whose index hash is given.
func (m *Map) find(client []byte, indexHash uint64) (id ID, known bool) {
	for id := range m.index.candidates(indexHash) {
		e := m.entry(id)
		after := m.lines.at(e.line, e.length)[e.client():]
		if len(after) > len(client) && after[len(client)] == ' ' && string(after[:len(client)]) == string(client) {
			return id, true
		}
	}
	return 0, false
}

// Find is the ID of a client. Its record may be a tombstone: see IsTombstone.
func (m *Map) Find(client []byte) (id ID, known bool) { return m.find(client, clientHash(client)) }

// IsTombstone reports whether the record of id is a tombstone: then its client is unknown.
func (m *Map) IsTombstone(id ID) bool { return m.entry(id).isTombstone() }

// ClientAndLocation are those fields of the record of id. They are valid until the next
// merge.
func (m *Map) ClientAndLocation(id ID) (client, location []byte) {
	e := m.entry(id)
	after := m.lines.at(e.line, e.length)[e.client():]
	end := bytes.IndexByte(after, ' ')
	client, after = after[:end], after[end+1:]
	return client, after[:bytes.IndexByte(after, ' ')]
}

// Has reports whether a client is known.
func (m *Map) Has(client []byte) bool {
	id, held := m.Find(client)
	return held && m.IsKnown(id)
}

// Get appends the record line of a client that is known to dst, without LF.
func (m *Map) Get(dst, client []byte) (line []byte, ok bool) {
	id, held := m.Find(client)
	if !held || !m.IsKnown(id) {
		return dst, false
	}
	return append(dst, m.Line(id)...), true
}

// Size is the number of bytes of all lines, each with an LF.
func (m *Map) Size() int64 { return m.size }

// AppendLines appends the lines of the IDs from id on, each with its LF, until it has
// appended limit bytes or more, or has looked at appendAtOnce IDs. next is the first ID that it
// left out: End when no more are left.
func (m *Map) AppendLines(dst []byte, id ID, limit int) (lines []byte, next ID) {
	end := min(m.End(), id+appendAtOnce)
	for begin := len(dst); id < end && len(dst)-begin < limit; id++ {
		if m.Holds(id) {
			dst = append(append(dst, m.Line(id)...), '\n')
		}
	}
	return dst, id
}

// appendAtOnce bounds the time of AppendLines, also if most records were removed.
const appendAtOnce = 4096

// End is greater than all IDs.
func (m *Map) End() ID { return ID(m.end) }

// Len is the number of records in the map, tombstones and expired ones included.
func (m *Map) Len() int { return m.end - m.removal.gone }

// Known is the number of clients that are known: see IsKnown.
func (m *Map) Known() int { return m.Len() - m.forgotten - m.expired }

// Lines yields all lines in the order of IDs. The map must not change meanwhile.
func (m *Map) Lines() iter.Seq[string] {
	return func(yield func(string) bool) {
		for id := range m.End() {
			if m.Holds(id) && !yield(string(m.Line(id))) {
				return
			}
		}
	}
}
