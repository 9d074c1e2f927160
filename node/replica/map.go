package replica

import (
	"bytes"
	"iter"

	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// ID numbers the clients of one Map in the order in which it first heard of
// them, from 0. Clients are never forgotten, so an ID stays good.
type ID uint32

// Outcome is what merging a record came to.
type Outcome uint8

// The outcomes. Only News changes a map.
const (
	Stale     Outcome = iota // older than what we hold
	Duplicate                // equal to what we hold
	News
)

func (o Outcome) String() string { return [...]string{"stale", "duplicate", "news"}[o] }

// Map holds for each client the record that wins. Merging is commutative,
// associative and idempotent, so maps that were given the same records in any
// order are equal. The zero Map is empty and ready.
//
// Of each record it keeps the line, in an arena, and an entry of 40 bytes that
// has no pointers; what else there is to know stands in the line.
type Map struct {
	index   index
	entries [][]entry // pages of them, by ID
	pages   slab[entry]
	length  int
	lines   arena
	digests *digests // nil while the map is empty
	size    int64    // of all lines, with an LF each
	batch   batch
}

type entry struct {
	hash     uint64 // of the line, as digests have it
	line     place
	sec      int64 // effective time: most merges are decided by it
	nsec     int32
	length   uint32 // of the line
	clientAt uint32 // in the line
	next     ID     // see digests
}

// pageSize is how many entries are allocated at a time, so that a map that grows
// never copies those it has.
const pageSize = 1 << 10

func (m *Map) entry(id ID) *entry { return &m.entries[id/pageSize][id%pageSize] }

// line is the record's line of id, good until it is replaced.
func (m *Map) line(id ID) []byte {
	e := m.entry(id)
	return m.lines.at(e.line, e.length)
}

// Merge puts r in the map if it wins there. It keeps a copy of r's bytes.
func (m *Map) Merge(r wire.Record) (ID, Outcome) {
	inIndex, hash := m.index.hash(r.Client()), xxhash.Sum64(r.Line)
	id, known := m.find(r.Client(), inIndex)
	if !known {
		return m.add(r, inIndex, hash), News
	}
	return id, m.update(id, r, hash)
}

// MergeLines is Merge of the record that each non-empty line of frame says, which
// need not end in LF; done is told what it came to, or of an error where a line says
// none. A line that the map holds already, byte for byte, is not parsed: of what
// comes over the edges about half is.
func (m *Map) MergeLines(frame []byte, done func(line []byte, id ID, outcome Outcome, err error)) {
	for len(frame) > 0 {
		frame = m.take(frame)
		m.bringNear()
		for i := range m.batch.lines[:m.batch.length] {
			in := &m.batch.lines[i]
			id, outcome, err := m.mergeLine(in)
			done(in.cut.Line, id, outcome, err)
		}
	}
}

func (m *Map) mergeLine(in *incoming) (ID, Outcome, error) {
	if in.err != nil {
		return 0, Stale, in.err
	}
	id, known := m.find(in.cut.Client(), in.inIndex)
	if known && m.entry(id).hash == in.hash && bytes.Equal(m.line(id), in.cut.Line) {
		return id, Duplicate, nil
	}
	r, err := in.cut.Parse()
	switch {
	case err != nil:
		return 0, Stale, err
	case known:
		return id, m.update(id, r, in.hash), nil
	}
	return m.add(r, in.inIndex, in.hash), News, nil
}

// update merges a record, its line's hash with it, of a client that the map knows.
func (m *Map) update(id ID, r wire.Record, hash uint64) Outcome {
	e := m.entry(id)
	switch c := r.Effective.Compare(wire.Instant{Sec: e.sec, Nsec: e.nsec}); {
	case c < 0:
		return Stale
	case c == 0:
		held := m.line(id)
		other, err := wire.ParseRecord(held)
		if err != nil {
			panic("the map holds what is no record: " + string(held)) // only records are merged
		}
		if c := wire.Compare(r, other); c < 0 {
			return Stale
		} else if c == 0 {
			return Duplicate
		}
	}
	m.digests.change(bucketOf(r.Client()), e.hash^hash)
	m.size += int64(len(r.Line)) - int64(e.length)
	e.line = m.lines.replace(e.line, e.length, r.Line)
	e.set(r, hash)
	return News
}

// add puts in the first record of a client, with the hashes of the client in the
// index and of the line.
func (m *Map) add(r wire.Record, inIndex, hash uint64) ID {
	if m.digests == nil {
		m.digests = new(digests)
	}
	id := ID(m.length)
	if id%pageSize == 0 {
		m.entries = append(m.entries, m.pages.next(pageSize))
	}
	m.length++
	m.index.add(inIndex, id)
	bucket := bucketOf(r.Client())
	e := m.entry(id)
	e.line = m.lines.add(r.Line)
	e.set(r, hash)
	e.next = m.digests.first[bucket]
	m.digests.first[bucket] = id + 1
	m.digests.change(bucket, hash)
	m.size += int64(len(r.Line)) + 1
	return id
}

// set notes what is to be known of r, whose line is in place.
func (e *entry) set(r wire.Record, hash uint64) {
	e.hash, e.length, e.clientAt = hash, uint32(len(r.Line)), uint32(r.ClientAt())
	e.sec, e.nsec = r.Effective.Sec, r.Effective.Nsec
}

// find is the ID of a client with its hash in the index.
func (m *Map) find(client []byte, hash uint64) (id ID, known bool) {
	for id := range m.index.candidates(hash) {
		e := m.entry(id)
		after := m.lines.at(e.line, e.length)[e.clientAt:]
		if len(after) > len(client) && after[len(client)] == ' ' && string(after[:len(client)]) == string(client) {
			return id, true
		}
	}
	return 0, false
}

// Has tells whether the map holds a record of a client.
func (m *Map) Has(client []byte) bool {
	_, known := m.find(client, m.index.hash(client))
	return known
}

// Get appends to dst the record's line, without LF, that wins for a client.
func (m *Map) Get(dst, client []byte) (line []byte, ok bool) {
	id, ok := m.find(client, m.index.hash(client))
	if !ok {
		return dst, false
	}
	return append(dst, m.line(id)...), true
}

// Size is how many bytes all lines are, with an LF each.
func (m *Map) Size() int64 { return m.size }

// AppendLines appends the lines of IDs from id on, each with its LF, until limit
// bytes; next is the first ID that it left out, Len when there are no more.
func (m *Map) AppendLines(dst []byte, id ID, limit int) (lines []byte, next ID) {
	for begin := len(dst); int(id) < m.length && len(dst)-begin < limit; id++ {
		dst = append(append(dst, m.line(id)...), '\n')
	}
	return dst, id
}

// Len is how many clients the map holds.
func (m *Map) Len() int { return m.length }

// Lines yields the records' lines, in the order of IDs. The map must not change
// meanwhile.
func (m *Map) Lines() iter.Seq[string] {
	return func(yield func(string) bool) {
		for id := range ID(m.length) {
			if !yield(string(m.line(id))) {
				return
			}
		}
	}
}
