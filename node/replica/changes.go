package replica

import "herd/node/store"

// TrackChanges begins to queue the clients whose record changes from now on, for TakeChanged;
// or it ends that, and frees the queue.
func (r *Replica) TrackChanges(on bool) {
	r.keep.unlinked = r.keep.inChanged.moveTo(r.keep.unlinked)
	if r.changed = nil; on {
		r.changed = new(outbox)
	}
}

// TakeChanged appends clients whose record has changed since they were last taken, the first
// ones first, until dst has limit clients or none is left. Each is queued once, however often it
// has changed: so the queue is bounded by the number of clients.
func (r *Replica) TakeChanged(dst []store.ID, limit int) []store.ID {
	for len(dst) < limit {
		id, ok := r.changed.peek()
		if !ok {
			break
		}
		r.changed.pop(id)
		if r.keep.inChanged.clear(id) {
			r.keep.unlinked = append(r.keep.unlinked, id)
		}
		dst = append(dst, id)
	}
	return dst
}

// Changed is the number of clients that TakeChanged would take.
func (r *Replica) Changed() int {
	if r.changed == nil {
		return 0
	}
	return r.changed.length
}
