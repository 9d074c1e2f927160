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

// Map holds for each client the record that wins. Merging is commutative,
// associative and idempotent, so maps that were given the same records in any
// order are equal. The zero Map is empty and ready.
type Map struct {
	index   index
	entries []entry
	digests *digests // nil while the map is empty
	size    int64    // of all lines, with an LF each
}

type entry struct {
	line   string
	client span // in line
	next   ID   // in the bucket: see digests
	rank   wire.Rank
}

// span is a part of a line.
type span struct{ at, length uint32 }

func (e *entry) clientID() string { return e.line[e.client.at:][:e.client.length] }

// set makes r the entry's record.
func (e *entry) set(r wire.Record) {
	e.line, e.rank = string(r.Line), r.Rank
	e.client = span{uint32(r.ClientAt), uint32(len(r.Client))}
}

// Merge puts r in the map if it wins there. It keeps a copy of r's bytes.
func (m *Map) Merge(r wire.Record) (ID, Outcome) {
	hash := m.index.hash(r.Client)
	id, known := m.find(r.Client, hash)
	if !known {
		return m.add(r, hash), News
	}
	e := &m.entries[id]
	switch c := r.Rank.Compare(e.rank); {
	case c < 0:
		return id, Stale
	case c == 0: // only the lines can tell, as wire.Compare has it
		if string(r.Line) == e.line {
			return id, Duplicate
		}
		if string(r.Line) < e.line {
			return id, Stale
		}
	}
	m.digests.change(bucketOf(r.Client), xxhash.Sum64String(e.line)^xxhash.Sum64(r.Line))
	m.size += int64(len(r.Line) - len(e.line))
	e.set(r)
	return id, News
}

// add puts in the first record of a client.
func (m *Map) add(r wire.Record, hash uint64) ID {
	if m.digests == nil {
		m.digests = new(digests)
	}
	id := ID(len(m.entries))
	m.index.add(hash, id)
	bucket := bucketOf(r.Client)
	e := entry{next: m.digests.first[bucket]}
	e.set(r)
	m.entries = append(m.entries, e)
	m.digests.first[bucket] = id + 1
	m.size += int64(len(r.Line)) + 1
	m.digests.change(bucket, xxhash.Sum64(r.Line))
	return id
}

// find is the ID of a client with its hash in the index.
func (m *Map) find(client []byte, hash uint64) (id ID, known bool) {
	for id := range m.index.candidates(hash) {
		if m.entries[id].clientID() == string(client) {
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

// Get returns the record's line, without LF, that wins for a client.
func (m *Map) Get(client []byte) (line string, ok bool) {
	id, ok := m.find(client, m.index.hash(client))
	if !ok {
		return "", false
	}
	return m.entries[id].line, true
}

// Size is how many bytes all lines are, with an LF each.
func (m *Map) Size() int64 { return m.size }

// AppendLines appends the lines of IDs from id on, each with its LF, until limit
// bytes; next is the first ID that it left out, Len when there are no more.
func (m *Map) AppendLines(dst []byte, id ID, limit int) (lines []byte, next ID) {
	for begin := len(dst); int(id) < len(m.entries) && len(dst)-begin < limit; id++ {
		dst = append(append(dst, m.entries[id].line...), '\n')
	}
	return dst, id
}

// Len is how many clients the map holds.
func (m *Map) Len() int { return len(m.entries) }

// Lines yields the records' lines, in the order of IDs. The map must not change
// meanwhile.
func (m *Map) Lines() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range m.entries {
			if !yield(m.entries[i].line) {
				return
			}
		}
	}
}

// eachLine calls do for each non-empty line of frame, which need not end in LF.
func eachLine(frame []byte, do func(line []byte)) {
	for len(frame) > 0 {
		line, rest, _ := bytes.Cut(frame, []byte("\n"))
		if len(line) > 0 {
			do(line)
		}
		frame = rest
	}
}
