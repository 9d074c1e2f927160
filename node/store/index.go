package store

import (
	"hash/maphash"
	"iter"
	"unsafe"
)

// index finds IDs by the hash of their client. It is a hash table with open addressing
// and linear probing over a power of two of slots, at most three quarters full. Unlike
// a Go map it stores no keys and has no pointers for the garbage collector to follow.
// The zero index is empty.
type index struct {
	slots []slot
	taken int // with those of old

	// While the index shrinks (shrink.go), old has the slots that have not moved to slots yet. Those before moved are empty.
	old   []slot
	moved int
}

// seed differs between processes, so that a client cannot choose names that collide.
var seed = maphash.MakeSeed()

// clientHash is the hash of a client for the index.
func clientHash(client []byte) uint64 { return maphash.Bytes(seed, client) }

// slot has 8 bytes, so that a probe seldom leaves its cache line.
type slot struct {
	id   ID     // plus one; 0 is an empty slot
	hash uint32 // lower half of the client's hash: the probe's start, and most of a comparison
}

// first is the slot at which a search for a hash begins. The index must have slots.
func (x *index) first(hash uint64) slot { return x.slots[uint32(hash)&uint32(len(x.slots)-1)] }

// candidates yields the IDs whose hash has the same lower half.
func (x *index) candidates(hash uint64) iter.Seq[ID] {
	return func(yield func(ID) bool) {
		if eachWith(x.slots, hash, yield) && x.old != nil {
			eachWith(x.old, hash, yield)
		}
	}
}

// eachWith yields the IDs in slots whose hash has the same lower half. It reports whether the caller wants more.
func eachWith(slots []slot, hash uint64, yield func(ID) bool) bool {
	if len(slots) == 0 {
		return true
	}
	mask := uint32(len(slots) - 1)
	for i := uint32(hash) & mask; slots[i].id != 0; i = (i + 1) & mask {
		if slots[i].hash == uint32(hash) && !yield(slots[i].id-1) {
			return false
		}
	}
	return true
}

// add adds an ID that is not in the index yet.
func (x *index) add(hash uint64, id ID) {
	if x.old != nil {
		x.move(movedByAdd)
	}
	if x.full() {
		old := x.slots
		x.slots = makeLarge[slot](x.grown())
		for _, s := range old {
			if s.id != 0 {
				put(x.slots, s)
			}
		}
	}
	put(x.slots, slot{id + 1, uint32(hash)})
	x.taken++
}

// remove removes an ID that is in the index.
func (x *index) remove(hash uint64, id ID) {
	if !removeFrom(x.slots, hash, id) {
		removeFrom(x.old, hash, id)
	}
	x.taken--
}

// removeFrom removes an ID from slots, and reports whether they had it. The slots behind it move up, so that no search ends
// before what it looks for.
func removeFrom(slots []slot, hash uint64, id ID) bool {
	mask := uint32(len(slots) - 1)
	i := uint32(hash) & mask
	for ; slots[i].id != id+1; i = (i + 1) & mask {
		if slots[i].id == 0 {
			return false
		}
	}
	for next := (i + 1) & mask; slots[next].id != 0; next = (next + 1) & mask {
		// A slot may move to i if i is not before the first slot of its probe.
		if home := slots[next].hash & mask; (next-home)&mask >= (next-i)&mask {
			slots[i] = slots[next]
			i = next
		}
	}
	slots[i] = slot{}
	return true
}

// full reports whether the next add makes the index grow. It does not while the index shrinks: see movedByAdd.
func (x *index) full() bool { return x.old == nil && 4*(x.taken+1) > 3*len(x.slots) }

// grown is the number of slots after that.
func (x *index) grown() int { return max(64, 2*len(x.slots)) }

// bytes is the memory of the slots.
func (x *index) bytes() int64 {
	return int64(len(x.slots)+len(x.old)) * int64(unsafe.Sizeof(slot{}))
}

// growth is by how much bytes grows with the next add.
func (x *index) growth() int64 {
	if !x.full() {
		return 0
	}
	return int64(x.grown()-len(x.slots)) * int64(unsafe.Sizeof(slot{}))
}

func put(slots []slot, s slot) {
	mask := uint32(len(slots) - 1)
	i := s.hash & mask
	for slots[i].id != 0 {
		i = (i + 1) & mask
	}
	slots[i] = s
}
