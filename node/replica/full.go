package replica

import (
	"fmt"
	"slices"
	"time"

	"herd/node/store"
)

// A map has a limit in bytes (Config.MaxBytes), or clients could fill the memory. A map
// that has refused a record, of a client or of a neighbour, is full until it has shrunk to
// roomAgain of its limit. Known clients are still updated. While the map is full
//
//   - no edge is in step, no further frame of a neighbour is confirmed, and the server is
//     not ready: its map differs from the others';
//   - comparisons are made every Config.Repair at most;
//   - neighbours defer records of further new clients, and send them when there is room.

// roomAgain is the share of the limit, in percent, below which a map is no longer full.
const roomAgain = 95

// Full says why the map is full; "" if it is not.
func (r *Replica) Full() string {
	if !r.full {
		return ""
	}
	return fmt.Sprintf("the map is full: it has %d bytes of HERD_MAX_MAP_BYTES, %d, and has refused new clients", r.store.Bytes(), r.store.Limit())
}

// noteRefused notes that the map refused a record.
func (r *Replica) noteRefused() { r.full = true }

// noteRoom looks whether there is room again: then all that was refused is fetched.
func (r *Replica) noteRoom(now time.Time) {
	if !r.full || r.store.BytesWithOneMore()-r.store.FreeEntries() >= r.store.Limit()/100*roomAgain {
		return
	}
	r.full = false
	for e, d := range r.edges {
		d.sync.backoff, d.sync.inStep, d.sync.synced = 0, false, false
		if d.up && r.repairs(e) {
			d.sync.schedule(now, roomInMap)
		}
	}
}

// noteTheirRoom begins to defer the records of new clients for a neighbour whose map is full,
// and queues them when it is no longer. It is called with each heartbeat.
func (r *Replica) noteTheirRoom(d *edge) {
	switch full := d.heartbeat.Full; {
	case full && !d.full && d.sync.inStep: // now we know all clients that it knows
		d.full, d.fullFrom, d.reused = true, r.store.End(), slices.Clone(r.keep.vacant)
	case !full && d.full:
		d.full, d.reused = false, nil
		for id := range d.deferred.all() {
			d.deferred.remove(id)
			d.enqueue(id)
			r.floodSeq++
		}
	}
}

// defers reports whether a record is deferred because the neighbour's map is full and its
// client is new since then.
func (d *edge) defers(id store.ID) bool { return d.full && (id >= d.fullFrom || d.reused.has(id)) }
