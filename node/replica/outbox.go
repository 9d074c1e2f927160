package replica

import "herd/node/store"

// outbox is a first-in, first-out queue of clients whose record is to be sent. A client
// is queued at most once, so the queue is bounded by the number of clients. The record
// is read when the client leaves the queue, so it is always the newest. The zero outbox
// is empty.
//
// A client that is dropped keeps its slot. If it is pushed again it takes that old slot,
// ahead of clients that were pushed meanwhile. So "everything that was queued at some
// time has left" must be decided by positions (end, passed), never by counting clients.
type outbox struct {
	slots   []store.ID
	head    int    // slots[:head] have left
	left    uint64 // number of slots that have ever left
	inSlots bits   // clients that have a slot
	queued  bits   // of those, the ones that are queued
	length  int    // number of queued ones
}

// push queues id, at the end if it has no slot yet.
func (o *outbox) push(id store.ID) {
	if o.queued.set(id) {
		o.length++
	}
	if o.inSlots.set(id) {
		o.slots = append(o.slots, id)
	}
}

// drop removes id and reports whether it was queued.
func (o *outbox) drop(id store.ID) bool {
	if !o.queued.clear(id) {
		return false
	}
	o.length--
	return true
}

// peek is the first queued client.
func (o *outbox) peek() (id store.ID, ok bool) {
	for o.head < len(o.slots) {
		id = o.slots[o.head]
		if o.queued.has(id) {
			return id, true
		}
		o.inSlots.clear(id)
		o.advance()
	}
	return 0, false
}

// pop removes the client that peek returned.
func (o *outbox) pop(id store.ID) {
	o.inSlots.clear(id)
	o.queued.clear(id)
	o.length--
	o.advance()
}

// advance frees the head slot, and the memory of the slots when half of them are free:
// there are never more than twice as many slots as clients, plus one page.
func (o *outbox) advance() {
	const page = 1024
	o.head++
	o.left++
	switch {
	case o.head == len(o.slots) && cap(o.slots) <= page:
		o.slots, o.head = o.slots[:0], 0
	case o.head >= page && o.head*2 >= len(o.slots):
		o.slots, o.head = append([]store.ID(nil), o.slots[o.head:]...), 0
	}
}

// end is the position behind the last slot. Positions count all slots there have been.
func (o *outbox) end() uint64 { return o.left + uint64(len(o.slots)-o.head) }

// passed reports whether every client that had a slot before position end has left.
func (o *outbox) passed(end uint64) bool { return o.left >= end || o.length == 0 }

// moveTo moves the clients with a slot before position end to another outbox, and
// returns their number.
func (o *outbox) moveTo(into *outbox, end uint64) (moved int) {
	for {
		id, ok := o.peek()
		if !ok || o.left >= end {
			return moved
		}
		o.pop(id)
		into.push(id)
		moved++
	}
}

// dropAll removes all clients, and their slots.
func (o *outbox) dropAll() {
	for id, ok := o.peek(); ok; id, ok = o.peek() {
		o.pop(id)
	}
}
