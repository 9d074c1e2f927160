package replica

import (
	"hash/maphash"
	"iter"
)

// index finds IDs by the hash of their client: open addressing with linear
// probing, in a power of two of slots that at most three quarters are taken of.
// Next to a Go map from strings it needs no keys of its own, and has no pointers
// for the collector to follow. The zero index is empty.
type index struct {
	slots []slot
	taken int
}

// seed makes hashes other than in any other process, so that nobody can make up
// clients that all fall into one place.
var seed = maphash.MakeSeed()

func (x *index) hash(client []byte) uint64 { return maphash.Bytes(seed, client) }

// slot is 8 bytes, so that a probe seldom leaves its cache line.
type slot struct {
	id   ID     // plus one; 0 is an empty slot
	hash uint32 // its lower half: where the ID belongs, and most of a comparison
}

// first is the slot where a search for a hash begins. There must be slots.
func (x *index) first(hash uint64) slot { return x.slots[uint32(hash)&uint32(len(x.slots)-1)] }

// candidates yields the IDs that may have a hash: those that have its lower half.
func (x *index) candidates(hash uint64) iter.Seq[ID] {
	return func(yield func(ID) bool) {
		if len(x.slots) == 0 {
			return
		}
		mask := uint32(len(x.slots) - 1)
		for i := uint32(hash) & mask; x.slots[i].id != 0; i = (i + 1) & mask {
			if x.slots[i].hash == uint32(hash) && !yield(x.slots[i].id-1) {
				return
			}
		}
	}
}

// add adds an ID, which must not be there yet.
func (x *index) add(hash uint64, id ID) {
	if 4*(x.taken+1) > 3*len(x.slots) {
		old := x.slots
		x.slots = makeLarge[slot](max(64, 2*len(old)))
		for _, s := range old {
			if s.id != 0 {
				x.put(s)
			}
		}
	}
	x.put(slot{id + 1, uint32(hash)})
	x.taken++
}

func (x *index) put(s slot) {
	mask := uint32(len(x.slots) - 1)
	i := s.hash & mask
	for x.slots[i].id != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}
