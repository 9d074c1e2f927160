package replica

import (
	"container/heap"
	"time"

	"herd/node/store"
)

// expiring is the clients whose records are expired and still in the map, by slot, and the IDs of those that have left it.
// A client is in the list at most once, however many of its records expire. Its record is looked at when it is taken out: if
// that is of a later slot, the client is listed again.
type expiring struct {
	expiredList
	unlinked []store.ID // removed, and not released yet
	vacant   bits       // removed, and without a new client yet
	inWheel  bits       // removed, and to be released once the wheel comes to them

	inChanged bits // removed, and to be released once TakeChanged has taken them

	marked, removed uint64
}

// The units of work of Expire: one is about a microsecond.
const (
	unlinkEntries = 4  // entries for a unit
	giveBackIDs   = 8  // IDs for a unit
	shrinkSlots   = 64 // slots for a unit
)

// Expire marks and removes records that are expired, and gives back their memory: work units of it. It reports whether there is more
// to do now. The caller lets others use the Replica before it goes on.
func (r *Replica) Expire(work int) (more bool) {
	k := &r.keep
	if !k.begun {
		return false
	}
	w := &k.wheel
	w.drain(k.slotOf(k.cutoff.Sec))
	for ; work > 0; work-- {
		switch second, ok := w.dueSecond(k.cutoff.Sec); {
		case len(w.due) > 0:
			id, empty := w.pop(w.slots, w.due[0])
			if empty {
				w.due = w.due[1:]
			}
			r.lookAgain(id)
		case ok:
			id, _ := w.pop(w.seconds, second)
			r.lookAgain(id)
		case len(w.early) > 0 && w.early[0].second < k.cutoff.Sec:
			if id := heap.Pop(&w.early).(early).id; r.store.Holds(id) {
				if receipt := r.store.Receipt(id); receipt.Compare(k.cutoff) <= 0 {
					r.markExpired(id, k.slotOf(receipt.Sec))
				}
			}
		case r.removeExpired():
		default:
			return r.giveBack(work)
		}
	}
	return true
}

// MarksDue reports whether Expire has to mark records that are expired.
func (r *Replica) MarksDue() bool {
	k := &r.keep
	w := &k.wheel
	_, second := w.dueSecond(k.cutoff.Sec)
	return k.begun && (len(w.due) > 0 || second || len(w.early) > 0 && w.early[0].second < k.cutoff.Sec)
}

// lookAgain handles a client that was taken out of the wheel. It is filed by the record that it has
// now, or marked if that is expired. If it has none any more, its ID becomes free.
func (r *Replica) lookAgain(id store.ID) {
	switch {
	case !r.store.Holds(id):
		if r.keep.inWheel.clear(id) {
			r.keep.unlinked = append(r.keep.unlinked, id)
		}
	case !r.store.IsExpired(id):
		r.file(id, r.store.Receipt(id))
	}
}

// markExpired marks a record as expired: counts, followers and the index of places learn that its client is unknown.
func (r *Replica) markExpired(id store.ID, slot int64) {
	if !r.store.MarkExpired(id) {
		return
	}
	k := &r.keep
	k.marked++
	k.list(slot, id)
	if r.store.IsTombstone(id) {
		return
	}
	if len(r.streams.open) > 0 {
		r.noteForStreams(id)
	}
	if r.changed != nil {
		r.changed.push(id)
	}
}

// removeExpired takes a client out of a slot below the floor, if there is one. It removes the client's record if that is below the floor.
func (r *Replica) removeExpired() (found bool) {
	k := &r.keep
	id, found := k.takeBelow(k.floor)
	if !found || !r.store.IsExpired(id) { // a later record has come, and is in the wheel
		return found
	}
	if slot := k.slotOf(r.store.Receipt(id).Sec); slot >= k.floor { // a later record has come, and is expired as well
		k.list(slot, id)
	} else {
		r.remove(id)
	}
	return true
}

// remove removes a record from the map, and its client from all queues.
func (r *Replica) remove(id store.ID) {
	for _, d := range r.edges {
		d.cancel(id)
		if d.full {
			d.reused.set(id)
		}
	}
	r.keep.vacant.set(id)
	r.journal.queue.drop(id)
	for _, s := range r.streams.open {
		s.removed(id)
	}
	r.store.Remove(id)
	r.keep.removed++
}

// giveBack frees the IDs and the memory of records that were removed.
func (r *Replica) giveBack(work int) (more bool) {
	k := &r.keep
	var rest int
	if k.unlinked, rest = r.store.Unlink(k.unlinked, work*unlinkEntries); rest == 0 {
		return true
	}
	work = rest / unlinkEntries
	for ; len(k.unlinked) > 0; k.unlinked = k.unlinked[1:] {
		if work == 0 {
			return true
		}
		work--
		id := k.unlinked[0]
		switch {
		case r.changed != nil && r.changed.queued.has(id): // the index of places must forget it first
			k.inChanged.set(id)
		case k.wheel.filed.has(id): // for a later time: see wheel.early
			k.inWheel.set(id)
		default:
			r.store.Release(id)
		}
	}
	if len(k.unlinked) == 0 {
		k.unlinked = nil
	}
	work = max(work, 1)
	more = r.store.Shrink(work * shrinkSlots)
	return r.store.GiveBack(work*giveBackIDs) || more
}

// ExpiryInfo describes expiry for operators.
type ExpiryInfo struct {
	Keep    time.Duration // Config.Keep
	Paused  string        // see ExpiryPaused
	Floor   int64         // receipts before it, in POSIX seconds, are not in the map; 0 if there is no such time yet
	Expired uint64        // records that have expired since the start
	Removed uint64        // of them, those that have left the map
	Waiting int           // records that are expired now and have not left it
}

// Expiry describes expiry.
func (r *Replica) Expiry() ExpiryInfo {
	k := &r.keep
	return ExpiryInfo{Keep: r.cfg.Keep, Paused: r.ExpiryPaused(), Floor: k.floor * k.slot, Expired: k.marked, Removed: k.removed, Waiting: r.store.Expired()}
}
