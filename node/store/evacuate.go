package store

// An evacuation gives back the memory of free slots. It moves all small lines that there are at
// its beginning into new chunks, and then drops the old ones. It is done in parts, so that the
// map can be used meanwhile.
//
// A line counts in Bytes once, wherever it is. So until the evacuation ends, up to half as much
// memory as Bytes is in use beside it.

// worthwhile is the number of free bytes from which an evacuation is worth its time, if they are
// also half of the arena. A twentieth is enough, of whatever size, if the map is near its limit: a full map has room
// again when a twentieth of it is free.
const worthwhile = 1 << 20

// isWorthwhile reports whether an evacuation should begin.
func (m *Map) isWorthwhile() bool {
	a := &m.lines
	if m.limit > 0 && m.Bytes() > m.limit/100*90 {
		return a.spare > a.bytes/20
	}
	return a.spare >= worthwhile && a.spare >= a.bytes/2
}

// isLeaving reports whether the small line at p is in a chunk that is being evacuated.
func (a *arena) isLeaving(p ref) bool {
	n := p >> 32
	return n/64 < ref(len(a.leaving)) && a.leaving[n/64]&(1<<(n%64)) != 0
}

// beginEvacuation lets all chunks of small lines be evacuated. From now on nothing is stored in
// them.
func (a *arena) beginEvacuation() {
	a.leaving = make([]uint64, (len(a.chunks)+63)/64)
	for _, n := range a.smalls {
		a.leaving[n/64] |= 1 << (n % 64)
	}
	a.smalls = nil
	a.small = slab[byte]{made: a.small.made}
	a.free, a.unused, a.left = [classes + 1]ref{}, 0, 0
	a.bytes -= a.spare
	a.spare = 0
}

// endEvacuation drops the old chunks, whose lines have all been moved.
func (a *arena) endEvacuation() {
	for n := range a.chunks {
		if a.isLeaving(ref(n) << 32) {
			a.chunks[n] = nil
			a.vacant = append(a.vacant, uint32(n))
		}
	}
	a.leaving = nil
}

// GiveBack continues to give back the memory of removed records, if that is worthwhile, and
// looks at some IDs. more reports whether it has more to do.
func (m *Map) GiveBack(ids int) (more bool) {
	a := &m.lines
	if a.leaving == nil {
		if !m.isWorthwhile() {
			return false
		}
		a.beginEvacuation()
		m.removal.evacuated = 0
	}
	for end := min(m.removal.evacuated+ID(ids), m.End()); m.removal.evacuated < end; m.removal.evacuated++ {
		if !m.Holds(m.removal.evacuated) {
			continue
		}
		e := m.entry(m.removal.evacuated)
		if classOf(int(e.length)) <= classes && a.isLeaving(e.line) {
			line := a.at(e.line, e.length)
			a.bytes -= int64(classOf(int(e.length)) * classSize)
			e.line = a.add(line)
		}
	}
	if m.removal.evacuated < m.End() {
		return true
	}
	a.endEvacuation()
	return false
}
