package replica

// outbox is what one neighbour has yet to be told: a first-in, first-out queue
// of clients, each in it at most once. Which record is sent for a client is
// decided when it leaves, so it is always the newest. The zero outbox is empty.
type outbox struct {
	queue  []ID
	head   int    // queue[:head] has left
	left   uint64 // how many ever have
	queued bits
	wanted bits // of those queued, the ones still to be told
	length int  // how many are wanted
}

// want puts id in the outbox, at its end if it is not there yet.
func (o *outbox) want(id ID) {
	if o.wanted.set(id) {
		o.length++
	}
	if o.queued.set(id) {
		o.queue = append(o.queue, id)
	}
}

// drop takes id out, and returns whether it was in: the neighbour turned out to know.
func (o *outbox) drop(id ID) bool {
	if !o.wanted.clear(id) {
		return false
	}
	o.length--
	return true
}

// next is the first client still wanted, without taking it out.
func (o *outbox) next() (id ID, ok bool) {
	for o.head < len(o.queue) {
		id = o.queue[o.head]
		if o.wanted.has(id) {
			return id, true
		}
		o.queued.clear(id)
		o.advance()
	}
	return 0, false
}

// pop takes out the client that next returned.
func (o *outbox) pop(id ID) {
	o.queued.clear(id)
	o.wanted.clear(id)
	o.length--
	o.advance()
}

// advance frees the head slot, and the queue's memory when half of it is free: the
// queue never holds more than twice the clients in it, wanted or not, and a page.
func (o *outbox) advance() {
	const page = 1024
	o.head++
	o.left++
	switch {
	case o.head == len(o.queue) && cap(o.queue) <= page:
		o.queue, o.head = o.queue[:0], 0
	case o.head >= page && o.head*2 >= len(o.queue):
		o.queue, o.head = append([]ID(nil), o.queue[o.head:]...), 0
	}
}

// end is where the queue ends, counted from its first slot ever.
func (o *outbox) end() uint64 { return o.left + uint64(len(o.queue)-o.head) }

// move moves those clients that are wanted, and stand before end, into another outbox.
// It returns how many.
func (o *outbox) move(end uint64, into *outbox) (moved int) {
	for {
		id, ok := o.next()
		if !ok || o.left >= end {
			return moved
		}
		o.pop(id)
		into.want(id)
		moved++
	}
}

// bits is a set of IDs, one bit each, as large as its largest member needs.
type bits []uint64

func (b bits) has(id ID) bool {
	return int(id/64) < len(b) && b[id/64]&(1<<(id%64)) != 0
}

// set adds id and reports whether it was missing.
func (b *bits) set(id ID) bool {
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
func (b bits) clear(id ID) bool {
	if !b.has(id) {
		return false
	}
	b[id/64] &^= 1 << (id % 64)
	return true
}
