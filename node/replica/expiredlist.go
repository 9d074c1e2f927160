package replica

import (
	"container/heap"

	"herd/node/store"
)

// expiredList is clients whose record is expired, by slot, each once. It finds the lowest slot without a walk over the map, which
// is large after a start that found records of many slots, and never shrinks.
type expiredList struct {
	expired map[int64][]store.ID // by slot; of none is it empty
	slots   slotHeap             // those of expired
	listed  bits                 // the clients
}

// list lists a client in a slot, unless it is listed already.
func (l *expiredList) list(slot int64, id store.ID) {
	if !l.listed.set(id) {
		return
	}
	ids, has := l.expired[slot]
	if !has {
		heap.Push(&l.slots, slot)
	}
	l.expired[slot] = append(ids, id)
}

// takeBelow takes a client out of the lowest slot, if that is below floor.
func (l *expiredList) takeBelow(floor int64) (id store.ID, ok bool) {
	if len(l.slots) == 0 || l.slots[0] >= floor {
		return 0, false
	}
	slot := l.slots[0]
	ids := l.expired[slot]
	id = ids[len(ids)-1]
	if len(ids) > 1 {
		l.expired[slot] = ids[:len(ids)-1]
	} else {
		delete(l.expired, slot)
		heap.Pop(&l.slots)
	}
	l.listed.clear(id)
	return id, true
}

type slotHeap []int64

func (h slotHeap) Len() int           { return len(h) }
func (h slotHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h slotHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *slotHeap) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *slotHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
