package replica

import (
	"iter"
	mathbits "math/bits"

	"herd/node/store"
)

// bits is a set of IDs with one bit each, as large as its largest member needs.
type bits []uint64

func (b bits) has(id store.ID) bool {
	return int(id/64) < len(b) && b[id/64]&(1<<(id%64)) != 0
}

// set adds id and reports whether it was missing.
func (b *bits) set(id store.ID) bool {
	if b.has(id) {
		return false
	}
	for int(id/64) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[id/64] |= 1 << (id % 64)
	return true
}

// clear removes id and reports whether it was there.
func (b bits) clear(id store.ID) bool {
	if !b.has(id) {
		return false
	}
	b[id/64] &^= 1 << (id % 64)
	return true
}

// moveTo clears all IDs and appends them to dst.
func (b *bits) moveTo(dst []store.ID) []store.ID {
	for i, word := range *b {
		for ; word != 0; word &= word - 1 {
			dst = append(dst, store.ID(64*i+mathbits.TrailingZeros64(word)))
		}
	}
	*b = nil
	return dst
}

// set is a set of clients that knows its size. The zero set is empty.
type set struct {
	members bits
	length  int
}

func (s *set) add(id store.ID) {
	if s.members.set(id) {
		s.length++
	}
}

func (s *set) remove(id store.ID) {
	if s.length > 0 && s.members.clear(id) {
		s.length--
	}
}

func (s *set) clear() { *s = set{} }

// all yields the members. The set may shrink meanwhile.
func (s *set) all() iter.Seq[store.ID] {
	return func(yield func(store.ID) bool) {
		for i, word := range s.members {
			for ; word != 0; word &= word - 1 {
				if !yield(store.ID(64*i + mathbits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}
