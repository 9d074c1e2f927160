package watch

import (
	"hash/maphash"
	"time"
)

// floods times how records spread over the edges. It has maxArrivals records at most: the oldest is
// dropped.
type floods struct {
	seed  maphash.Seed
	began map[uint64]*flood
	order []uint64 // oldest first
}

// flood is one record on its way.
type flood struct {
	at      time.Time
	reached map[string]bool
}

func newFloods() floods { return floods{seed: maphash.MakeSeed(), began: map[uint64]*flood{}} }

// note notes a record on the edge between two servers. It returns the time since the record was first
// seen, and whether it is the first time that it arrives at to.
func (f *floods) note(line []byte, from, to string, at time.Time) (since time.Duration, first bool) {
	key := maphash.Bytes(f.seed, line)
	one := f.began[key]
	if one == nil {
		if len(f.order) >= maxArrivals {
			delete(f.began, f.order[0])
			f.order = append(f.order[:0:0], f.order[1:]...)
		}
		one = &flood{at: at, reached: map[string]bool{from: true}}
		f.began[key] = one
		f.order = append(f.order, key)
	}
	if one.reached[to] {
		return 0, false
	}
	one.reached[to] = true
	return at.Sub(one.at), true
}
