package replica

import (
	"container/heap"
	"slices"

	"herd/node/store"
	"herd/node/wire"
)

// wheel finds the clients whose records expire. Each client is filed once: in the list of a slot, and once the
// cutoff has reached that, in the list of a second. A record that replaces another stays where that was filed: so it
// is filed under its own time or earlier, and when its time has come, it is looked at and filed again, or is expired. So a
// client that reports often costs two or three looks in each Config.Keep, and four bytes.
type wheel struct {
	next  [][]store.ID // by ID, in pages: the next in its list, plus one
	filed bits

	slots   map[int64]store.ID // first of each list, plus one
	seconds map[int64]store.ID // of slots up to drained
	due     []int64            // slots up to drained whose list is not empty, in order
	drained int64
	walked  int // most slots that a walk over the map of slots has found since it was made

	limit int64 // see filedBefore and lastSlot
	early earlyHeap
}

// The last slot in which a client may be filed (lastSlot) is filedBefore slots before that of our clock. A record may win although
// its receipt is earlier than that of the record that it replaces. If its slot is before lastSlot, the client may be filed too late
// for it, so it is noted in early.
const filedBefore = 2

// maxEarly bounds early. Beyond it, records are noticed only where they are filed: the client is unknown at its time, but
// counted until Config.Keep later.
const maxEarly = 1 << 16

// early is a record whose client may be filed too late for it.
type early struct {
	second int64
	id     store.ID
}

type earlyHeap []early

func (h earlyHeap) Len() int           { return len(h) }
func (h earlyHeap) Less(i, j int) bool { return h[i].second < h[j].second }
func (h earlyHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *earlyHeap) Push(x any)        { *h = append(*h, x.(early)) }
func (h *earlyHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

const wheelPage = 1 << 14

const noSlot = -1 << 62

func newWheel() wheel {
	return wheel{slots: map[int64]store.ID{}, seconds: map[int64]store.ID{}, drained: noSlot, limit: noSlot + 1}
}

// push files a client in a list.
func (w *wheel) push(lists map[int64]store.ID, key int64, id store.ID) {
	for int(id/wheelPage) >= len(w.next) {
		w.next = append(w.next, make([]store.ID, wheelPage))
	}
	w.next[id/wheelPage][id%wheelPage] = lists[key]
	lists[key] = id + 1
	w.filed.set(id)
}

// pop takes a client out of a list, which must not be empty.
func (w *wheel) pop(lists map[int64]store.ID, key int64) (id store.ID, empty bool) {
	id = lists[key] - 1
	next := w.next[id/wheelPage][id%wheelPage]
	if lists[key] = next; next == 0 {
		delete(lists, key)
	}
	w.filed.clear(id)
	return id, next == 0
}

// drain makes the lists of all slots up to one due.
func (w *wheel) drain(slot int64) {
	if slot <= w.drained {
		return
	}
	if w.walked = max(w.walked, len(w.slots)); 4*len(w.slots) < w.walked { // a map never shrinks, and a walk over it takes as long
		few := make(map[int64]store.ID, len(w.slots))
		for s, first := range w.slots {
			few[s] = first
		}
		w.slots, w.walked = few, len(few)
	}
	for s := range w.slots {
		if s <= slot && s > w.drained {
			w.due = append(w.due, s)
		}
	}
	slices.Sort(w.due)
	w.drained = slot
}

// dueSecond is a second before another one whose list is not empty.
func (w *wheel) dueSecond(before int64) (second int64, ok bool) {
	for s := range w.seconds { // those of a slot, few more
		if s < before {
			return s, true
		}
	}
	return 0, false
}

// setLimit sets limit. When our clock was set back, limit falls: clients that are filed in later slots are moved to the last one. That
// may be all clients, and takes some ten nanoseconds for each.
func (w *wheel) setLimit(limit int64) {
	falls := limit < w.limit
	if w.limit = limit; !falls {
		return
	}
	last := w.lastSlot()
	for slot, first := range w.slots {
		if slot <= last {
			continue
		}
		delete(w.slots, slot)
		end := &first
		for *end != 0 {
			end = &w.next[(*end-1)/wheelPage][(*end-1)%wheelPage]
		}
		*end = w.slots[last]
		w.slots[last] = first
	}
}

// lastSlot is the last slot in which a client may be filed.
func (w *wheel) lastSlot() int64 { return max(w.limit, w.drained+1) }

// noteNewsForExpiry files the client of a record that was merged and is news, if it is not filed.
func (r *Replica) noteNewsForExpiry(id store.ID, line []byte) {
	k := &r.keep
	w := &k.wheel
	filed := w.filed.has(id)
	const maxLead = 60 // of an effective time before the receipt
	if filed && r.store.Effective(id).Sec-maxLead >= w.lastSlot()*k.slot {
		return // most records
	}
	rec, err := wire.ParseRecord(line)
	switch {
	case err != nil: // only records are merged
	case !filed: // it is new, or was expired
		k.vacant.clear(id)
		r.file(id, rec.Receipt)
		for _, s := range r.streams.open {
			s.mayBeNew(id)
		}
	case k.slotOf(rec.Receipt.Sec) < w.lastSlot() && len(w.early) < maxEarly:
		heap.Push(&w.early, early{rec.Receipt.Sec, id})
	}
}

// file files a client whose record has this receipt, or marks the record if it is expired.
func (r *Replica) file(id store.ID, receipt wire.Instant) {
	k := &r.keep
	slot := k.slotOf(receipt.Sec)
	switch {
	case k.begun && receipt.Compare(k.cutoff) <= 0:
		r.markExpired(id, slot)
	case slot <= k.wheel.drained:
		k.wheel.push(k.wheel.seconds, receipt.Sec, id)
	default:
		k.wheel.push(k.wheel.slots, min(slot, k.wheel.lastSlot()), id)
	}
}
