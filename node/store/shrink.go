package store

// An index of which few slots are taken shrinks to a quarter. Its slots move to new ones in parts, so that the map can be used
// meanwhile: searches look at both, and new IDs are put into the new slots only. Each part also happens when an ID is added, so
// the old slots are empty before the new ones can be full.

const (
	// The index shrinks when one of fewFactor slots is taken, or less. Then shrinkFactor times fewer slots are half full at most.
	fewFactor    = 8
	shrinkFactor = 4
	// smallIndex is the number of slots that are not worth it.
	smallIndex = 1 << 10
	// movedByAdd is how many old slots move with each ID that is added. The new slots have room for a quarter more of theirs,
	// a sixteenth of the old ones, so more than 16 would do.
	movedByAdd = 64
)

// Shrink gives back memory that few records do not need: of the index, in parts of some slots. It also lowers what counts as the
// size of a map that had another limit before (SetLimit), when the map has become smaller. more reports whether there is more
// to do.
func (m *Map) Shrink(slots int) (more bool) {
	x := &m.index
	if x.old == nil && len(x.slots) > smallIndex && x.taken*fewFactor <= len(x.slots) {
		x.old, x.moved = x.slots, 0
		x.slots = makeLarge[slot](len(x.old) / shrinkFactor)
	}
	if x.old != nil {
		x.move(slots)
		more = true // perhaps it can shrink again
	}
	if m.base > m.limit {
		m.base = max(m.limit, min(m.base, m.Bytes()))
	}
	return more
}

// move moves what is in the next n old slots, and drops them when they are all empty.
func (x *index) move(n int) {
	for end := min(x.moved+n, len(x.old)); x.moved < end; x.moved++ {
		for s := x.old[x.moved]; s.id != 0; s = x.old[x.moved] { // the next one may move up
			put(x.slots, s)
			removeFrom(x.old, uint64(s.hash), s.id-1)
		}
	}
	if x.moved == len(x.old) {
		x.old = nil
	}
}
