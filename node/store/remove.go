package store

import (
	"math/bits"

	"herd/node/wire"
)

// removal is what is left of records that were removed. An ID goes through these stages:
//
//   - it has a record;
//   - Remove: its record is gone from the index, the digests and the arena. Its entry is empty and
//     still linked to its bucket;
//   - Unlink: nothing in the map refers to it. The caller calls Release when nothing else refers to it
//     either;
//   - Release: it is free, and the next new client may get it.
type removal struct {
	gone    int      // IDs without a record
	dirty   []uint16 // buckets with entries to unlink, each once
	isDirty *[wire.Buckets / 64]uint64
	walked  walk

	pages     []freePage
	withFree  []uint64 // pages with a free ID, one bit each
	free      int      // free IDs
	dropped   int      // of them, those of pages whose entries were dropped
	evacuated ID       // see GiveBack
	tooOld    int64    // see TooOld
}

// walk is how far Unlink has come in a bucket.
type walk struct {
	on     bool
	bucket uint16
	after  ID // the last ID looked at that stays linked, plus one; 0 for none
}

// freePage is the free IDs of a page. They are linked through entry.next, unless the page was
// dropped.
type freePage struct {
	first ID // plus one
	count int
}

// Holds reports whether id has a record: it is below End, and not removed.
func (m *Map) Holds(id ID) bool {
	if id >= m.End() {
		return false
	}
	page := m.entries[id/pageSize]
	return page != nil && page[id%pageSize].holds()
}

// IsKnown reports whether the record of id makes its client known: it is no tombstone and not
// marked as expired.
func (m *Map) IsKnown(id ID) bool { return m.entry(id).clientOffset&flags == 0 }

// MarkExpired marks the record of id as expired: its client is unknown until the next record. It
// reports whether the record was not marked before.
func (m *Map) MarkExpired(id ID) bool {
	e := m.entry(id)
	if e.clientOffset&expiredBit != 0 {
		return false
	}
	if !e.isTombstone() {
		m.expired++
	}
	m.marked++
	e.clientOffset |= expiredBit
	return true
}

// IsExpired reports whether id has a record that is marked as expired.
func (m *Map) IsExpired(id ID) bool { return m.Holds(id) && m.entry(id).clientOffset&expiredBit != 0 }

// Expired is the number of records that are marked as expired, tombstones included.
func (m *Map) Expired() int { return m.marked }

// unflag takes a record out of the counts for its flags.
func (m *Map) unflag(e *entry) {
	if e.clientOffset&expiredBit != 0 {
		m.marked--
	}
	if e.isTombstone() {
		m.forgotten--
	} else {
		m.expired--
	}
}

// SetFloor makes records stale whose receipt is before a time, in POSIX seconds. Records that the map
// holds stay. 0 is no such time, as before the first call.
func (m *Map) SetFloor(receipt int64) { m.floor = receipt }

// tooOld reports whether a record is below the floor.
func (m *Map) tooOld(r wire.Record) bool {
	if m.floor == 0 || r.Receipt.Sec >= m.floor {
		return false
	}
	m.removal.tooOld += int64(len(r.Line)) + 1
	return true
}

// TooOld is the number of bytes of all records that were stale because of the floor, each with an LF.
func (m *Map) TooOld() int64 { return m.removal.tooOld }

// Remove removes the record of id. The ID stays taken: see Unlink.
func (m *Map) Remove(id ID) {
	e := m.entry(id)
	client, _ := m.ClientAndLocation(id)
	bucket := bucketOf(client)
	m.digests.change(bucket, e.hash)
	m.index.remove(clientHash(client), id)
	m.lines.remove(e.line, e.length)
	m.size -= int64(e.length) + 1
	if e.clientOffset&flags != 0 {
		m.unflag(e)
	}
	*e = entry{next: e.next}
	r := &m.removal
	r.gone++
	if r.isDirty == nil {
		r.isDirty = new([wire.Buckets / 64]uint64)
	}
	if bit := uint64(1) << (bucket % 64); r.isDirty[bucket/64]&bit == 0 {
		r.isDirty[bucket/64] |= bit
		r.dirty = append(r.dirty, bucket)
	}
}

// Unlink takes removed IDs out of their buckets and appends them to dst. It looks at some entries, and goes on there with the
// next call: names can be crafted so that one bucket has many. A bucket counts as an entry as well. rest is how many entries
// were not needed: 0 if there may be more to do.
func (m *Map) Unlink(dst []ID, entries int) (ids []ID, rest int) {
	r := &m.removal
	w := &r.walked
	for ; entries > 0; entries-- {
		if !w.on {
			if len(r.dirty) == 0 {
				return dst, entries
			}
			*w = walk{on: true, bucket: r.dirty[len(r.dirty)-1]}
			r.dirty = r.dirty[:len(r.dirty)-1]
			r.isDirty[w.bucket/64] &^= 1 << (w.bucket % 64) // what is removed from now on is found by another walk
			continue
		}
		link := &m.digests.first[w.bucket]
		if w.after != 0 { // it is still linked, even if it has been removed: only we unlink
			link = &m.entry(w.after - 1).next
		}
		if *link == 0 {
			w.on = false
			continue
		}
		if e := m.entry(*link - 1); e.holds() {
			w.after = *link
		} else {
			dst = append(dst, *link-1)
			*link, e.next = e.next, 0
		}
	}
	return dst, 0
}

// Release frees an ID that Unlink has returned. Nobody may refer to it any more. The memory of a page of
// free IDs is given back.
func (m *Map) Release(id ID) {
	r, n := &m.removal, id/pageSize
	for int(n) >= len(r.pages) {
		r.pages = append(r.pages, freePage{})
	}
	for int(n/64) >= len(r.withFree) {
		r.withFree = append(r.withFree, 0)
	}
	p := &r.pages[n]
	m.entry(id).next = p.first
	p.first = id + 1
	p.count++
	r.free++
	r.withFree[n/64] |= 1 << (n % 64)
	if p.count == pageSize {
		m.entries[n], p.first = nil, 0
		r.dropped += pageSize
	}
}

// newID takes the ID for a new client: one that is free, in the first page that has any, or else the next.
func (m *Map) newID() ID {
	r := &m.removal
	if r.free == 0 {
		if m.end%pageSize == 0 {
			m.entries = append(m.entries, m.pages.next(pageSize))
		}
		m.end++
		return ID(m.end - 1)
	}
	n := m.pageWithFree()
	p := &r.pages[n]
	if m.entries[n] == nil {
		m.entries[n] = m.pages.next(pageSize)
		r.dropped -= pageSize
		for i := range ID(pageSize) {
			m.entries[n][i].next = n*pageSize + i + 2 // the next one, plus one
		}
		m.entries[n][pageSize-1].next = 0
		p.first = n*pageSize + 1
	}
	id := p.first - 1
	p.first = m.entry(id).next
	if p.count--; p.count == 0 {
		r.withFree[n/64] &^= 1 << (n % 64)
	}
	r.free--
	r.gone--
	return id
}

// pageWithFree is the first page that has a free ID. There must be one.
func (m *Map) pageWithFree() ID {
	for i, word := range m.removal.withFree {
		if word != 0 {
			return ID(64*i + bits.TrailingZeros64(word))
		}
	}
	panic("no page has a free ID") // the caller has seen that there is one
}

// entryGrowth is by how much the entries grow with one more client.
func (m *Map) entryGrowth() int64 {
	switch r := &m.removal; {
	case r.free == 0:
		return entrySize
	case m.entries[m.pageWithFree()] == nil:
		return pageSize * entrySize
	}
	return 0
}
