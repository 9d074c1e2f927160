package store

import "unsafe"

// usualLine is the length that few lines of records exceed.
const usualLine = 256

// SetLimit limits the memory of the map, in bytes; 0 is no limit, as before the first
// call. A record of a new client that would make the map larger is Refused. A record of a
// known client is not, unless it needs new memory, and the map is larger than the limit by
// half: or by a tenth, if the line is longer than usualLine. Otherwise clients that were
// admitted with short records could fill the memory with long ones.
//
// A map that is larger than it could have become with the limit had another one before: then
// its present size counts instead, so that known clients are served. Shrink lowers that when the
// map has become smaller.
func (m *Map) SetLimit(bytes int64) {
	m.limit, m.base = bytes, bytes
	if held := m.Bytes(); held > bytes/10*outgrown {
		m.base = held
	}
}

// outgrown is the size of a map that had another limit before, in tenths of the limit. A map
// may take a little more memory when its records are merged anew.
const outgrown = 16

// Limit is the limit that SetLimit has set.
func (m *Map) Limit() int64 { return m.limit }

// Bytes is the memory that the records take: entries, index, and the arena, with what is free
// in them. Constant parts, and what is allocated ahead of its use, are not counted. Records that
// were removed leave free entries and slots, which new records take first.
func (m *Map) Bytes() int64 {
	return int64(m.end-m.removal.dropped)*entrySize + m.index.bytes() + m.lines.bytes
}

// FreeEntries is the part of Bytes that new clients take first, whatever the length of their lines: the entries of clients that
// were removed.
func (m *Map) FreeEntries() int64 { return int64(m.removal.free-m.removal.dropped) * entrySize }

const entrySize = int64(unsafe.Sizeof(entry{}))

// hasRoomToAdd reports whether the limit allows one more client, whose line has a length. For tombstones it is
// larger by a quarter, so that clients that were forgotten do not come back from elsewhere; the rest of what
// hasRoomToReplace allows is for known clients.
func (m *Map) hasRoomToAdd(length int, tombstone bool) bool {
	most := m.limit
	if tombstone {
		most = m.base + m.base/4
	}
	return m.limit == 0 || m.BytesWithOneMore()+m.lines.growth(length) <= most
}

// hasRoomToReplace reports whether the limit allows a line of a length in place of e's.
func (m *Map) hasRoomToReplace(e *entry, length int) bool {
	if m.limit == 0 || classOf(length) == classOf(int(e.length)) {
		return true
	}
	most := m.base + m.base/10
	if length <= usualLine {
		most = m.base + m.base/2
	}
	grown := m.lines.growth(length)
	if classOf(int(e.length)) > classes {
		grown -= int64(classOf(int(e.length)) * classSize)
	}
	return grown <= 0 || m.Bytes()+grown <= most
}

// BytesWithOneMore is what Bytes would be with one more client, without its line.
func (m *Map) BytesWithOneMore() int64 {
	return m.Bytes() + m.entryGrowth() + m.index.growth()
}
