package store

import (
	"bytes"
	"iter"

	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// ID numbers the clients of one Map in the order in which they were first merged, from
// 0. Clients are never removed, so an ID stays valid.
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
// Map is empty and ready to use.
//
// For each record it keeps the line, in an arena, and an entry of 40 bytes without
// pointers. Everything else can be parsed from the line.
type Map struct {
	index   index
	entries [][]entry // pages of pageSize entries, by ID
	pages   slab[entry]
	length  int
	lines   arena
	digests *digests // nil while the map is empty
	size    int64    // bytes of all lines, each with an LF
	base    int64    // see SetLimit
	limit   int64    // of Bytes; 0 for none
	batch   batch
}

type entry struct {
	hash         uint64 // of the line, for the digests
	line         ref
	sec          int64 // effective time, which decides most merges
	nsec         int32
	length       uint32 // of the line
	clientOffset uint32 // in the line
	next         ID     // the next entry of the same bucket; see digests.first
}

// pageSize is the number of entries per allocation. A map grows by pages, so it never
// copies its entries.
const pageSize = 1 << 10

func (m *Map) entry(id ID) *entry { return &m.entries[id/pageSize][id%pageSize] }

// Line is the record's line of id, without LF. It is valid until the next merge.
func (m *Map) Line(id ID) []byte {
	e := m.entry(id)
	return m.lines.at(e.line, e.length)
}

// Hash is the hash of the record's line of id. It changes whenever the record does.
func (m *Map) Hash(id ID) uint64 { return m.entry(id).hash }

// Effective is the effective time of the record of id.
func (m *Map) Effective(id ID) wire.Instant {
	e := m.entry(id)
	return wire.Instant{Sec: e.sec, Nsec: e.nsec}
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
	if !m.hasRoomToReplace(e, len(r.Line)) {
		return Refused
	}
	m.digests.change(bucketOf(r.Client()), e.hash^lineHash)
	m.size += int64(len(r.Line)) - int64(e.length)
	e.line = m.lines.replace(e.line, e.length, r.Line)
	e.set(r, lineHash)
	return News
}

// add stores the first record of a client. If there is no room, the ID is meaningless.
func (m *Map) add(r wire.Record, indexHash, lineHash uint64) (ID, Outcome) {
	if !m.hasRoomToAdd(len(r.Line)) {
		return 0, Refused
	}
	if m.digests == nil {
		m.digests = new(digests)
	}
	id := ID(m.length)
	if id%pageSize == 0 {
		m.entries = append(m.entries, m.pages.next(pageSize))
	}
	m.length++
	m.index.add(indexHash, id)
	bucket := bucketOf(r.Client())
	e := m.entry(id)
	e.line = m.lines.add(r.Line)
	e.set(r, lineHash)
	e.next = m.digests.first[bucket]
	m.digests.first[bucket] = id + 1
	m.digests.change(bucket, lineHash)
	m.size += int64(len(r.Line)) + 1
	return id, News
}

// set fills the entry's fields from r. The line is stored already.
func (e *entry) set(r wire.Record, lineHash uint64) {
	e.hash, e.length, e.clientOffset = lineHash, uint32(len(r.Line)), uint32(r.ClientOffset())
	e.sec, e.nsec = r.Effective.Sec, r.Effective.Nsec
}

// find is the ID of a client whose index hash is given.
func (m *Map) find(client []byte, indexHash uint64) (id ID, known bool) {
	for id := range m.index.candidates(indexHash) {
		e := m.entry(id)
		after := m.lines.at(e.line, e.length)[e.clientOffset:]
		if len(after) > len(client) && after[len(client)] == ' ' && string(after[:len(client)]) == string(client) {
			return id, true
		}
	}
	return 0, false
}

// Find is the ID of a client.
func (m *Map) Find(client []byte) (id ID, known bool) { return m.find(client, clientHash(client)) }

// ClientAndLocation are those fields of the record of id. They are valid until the next
// merge.
func (m *Map) ClientAndLocation(id ID) (client, location []byte) {
	e := m.entry(id)
	after := m.lines.at(e.line, e.length)[e.clientOffset:]
	end := bytes.IndexByte(after, ' ')
	client, after = after[:end], after[end+1:]
	return client, after[:bytes.IndexByte(after, ' ')]
}

// Has reports whether the map holds a record of a client.
func (m *Map) Has(client []byte) bool {
	_, known := m.find(client, clientHash(client))
	return known
}

// Get appends a client's record line to dst, without LF.
func (m *Map) Get(dst, client []byte) (line []byte, ok bool) {
	id, ok := m.find(client, clientHash(client))
	if !ok {
		return dst, false
	}
	return append(dst, m.Line(id)...), true
}

// Size is the number of bytes of all lines, each with an LF.
func (m *Map) Size() int64 { return m.size }

// AppendLines appends the lines of the IDs from id on, each with its LF, until it has
// appended limit bytes or more. next is the first ID that it left out: Len when no more
// are left.
func (m *Map) AppendLines(dst []byte, id ID, limit int) (lines []byte, next ID) {
	for begin := len(dst); int(id) < m.length && len(dst)-begin < limit; id++ {
		dst = append(append(dst, m.Line(id)...), '\n')
	}
	return dst, id
}

// Len is the number of clients in the map.
func (m *Map) Len() int { return m.length }

// Lines yields all lines in the order of IDs. The map must not change meanwhile.
func (m *Map) Lines() iter.Seq[string] {
	return func(yield func(string) bool) {
		for id := range ID(m.length) {
			if !yield(string(m.Line(id))) {
				return
			}
		}
	}
}
