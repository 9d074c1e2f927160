package main

// faults are faults that a change could bring into the core of a server: merging, the flood,
// repair, the queues, expiry, and the journal. The texts are chosen from code that seldom changes.
var faults = []fault{
	// Merging.
	{"the later of two receipts wins", "node/wire/record.go",
		"return b.Receipt.Compare(a.Receipt)", "return a.Receipt.Compare(b.Receipt)", "node/wire", "Compare"},
	{"records of equal rank are equal", "node/wire/record.go",
		"return bytes.Compare(a.Line, b.Line)", "return 0", "node/wire", "Compare"},
	{"a client's clock may lead by an hour", "node/wire/record.go",
		"const maxLead = 60\n", "const maxLead = 3600\n", "node/wire", "Rank|Compare|Effective"},
	{"on equal times the weaker record is kept", "node/store/map.go",
		"if c := wire.Compare(r, other); c < 0 {", "if c := wire.Compare(r, other); c > 0 {", "node/store", "."},
	{"digests keep the replaced record", "node/store/map.go",
		"m.digests.change(bucketOf(r.Client()), e.hash^lineHash)", "m.digests.change(bucketOf(r.Client()), lineHash)", "node/store", "."},
	{"slots of lines overlap", "node/store/arena.go",
		"a.unused += ref(size)", "a.unused += ref(size - classSize)", "node/store", "."},

	// The flood.
	{"records go back to where they came from", "node/replica/replica.go",
		"case e == from:\n\t\treturn cancelForwarding", "case e == from:\n\t\treturn forwardNow", "node/replica", "FuzzFrame"},
	{"a triangle's third edge is not spared", "node/replica/replica.go",
		"r.alsoReceives(e, from):\n\t\treturn forwardLater", "r.alsoReceives(e, from):\n\t\treturn forwardNow", "node/replica", "Delay"},
	{"delayed records wait for a tick only", "node/replica/delay.go",
		"moved = q.queue.moveTo(into, q.ends[0])", "moved = q.queue.moveTo(into, q.ends[len(q.ends)-1])", "node/replica", "Delay"},
	{"a reply does not wait for the flush of its record", "node/flood.go",
		"if n.flushed.done >= wanted {", "if n.flushed.done+1 >= wanted {", "node", "Flood|Flush"},
	{"a frame that may have been sent gives its number to the next", "node/flood.go",
		"result = replica.Uncertain", "result = replica.NotSent", "node", "UncertainSend"},

	// The queues of a neighbour.
	{"a sequence number is used again after an uncertain send", "node/replica/edge.go",
		"if result != NotSent {", "if result == Sent {", "node/replica", "Frame|Edge|Send|Uncertain"},
	{"records of an uncertain frame are dropped", "node/replica/edge.go",
		"if d.inFlight.retry.clear(id) && result != Sent {", "if d.inFlight.retry.clear(id) && result == NotSent {", "node/replica", "Frame|Edge|Send|Uncertain"},
	{"live records are forgotten when the neighbour goes down", "node/replica/edge.go",
		"d.live.moveTo(&d.backlog, d.live.end())", "d.live.dropAll()", "node/replica", "QueuedWhileDown"},
	{"a queue has passed what is still in it", "node/replica/outbox.go",
		"return o.left >= end || o.length == 0", "return true", "node/replica", "Outbox|Passed|Edge"},

	// Repair.
	{"a lost message is confirmed as merged", "node/replica/sequence.go",
		"|| complete && lost == 0 {", "|| complete {", "node/replica", "Sequence|Loss|Lost|Gap"},
	{"one lost message is not noticed", "node/replica/sequence.go",
		"return s.note(m, s.seen.Seq+1, now)", "return s.note(m, s.seen.Seq+2, now)", "node/replica", "Sequence|Loss|Lost|Gap"},
	{"buckets that a reply leaves out are not requested again", "node/replica/compare.go",
		"range c.requested[done:] {", "range c.requested[requested:] {", "node/replica", "PartOfReply"},
	{"the first message of digests counts as all", "node/replica/compare.go",
		"c.moved, c.compared = now, m.Last", "c.moved, c.compared = now, true", "node/replica", "Repair"},
	{"a neighbour is not asked back", "node/replica/answer.go",
		"if a.request.Both && shared < len(a.have) {", "if a.request.Both && shared > len(a.have) {", "node/replica", "Repair"},
	{"a record that changed during a repair is not sent", "node/replica/answer.go",
		"if a.replica.store.Hash(p.id) == p.hash {", "if a.replica.store.Hash(p.id) != 0 {", "node/replica", "Repair|Reply|Answer"},
	{"digests that stay different start no comparison", "node/replica/schedule.go",
		"case ours == s.ours && theirs == s.theirs &&", "case ours == s.ours && theirs != s.theirs &&", "node/replica", "Repair|Digest|Differ"},

	// Expiry.
	{"a record is removed when it is expired, not two minutes later", "node/replica/keep.go",
		"floor := k.slotOf(k.cutoff.Sec - k.grace)", "floor := k.slotOf(k.cutoff.Sec)", "node/replica", "Expiry|Floor|Below"},
	{"a neighbour's floor counts beyond what is expired", "node/replica/keep.go",
		"floor = max(floor, min(d.heartbeat.Floor, most))", "floor = max(floor, d.heartbeat.Floor, most*0)", "node/replica", "Floor"},
	{"a jump of the clock makes clients unknown before the next tick", "node/replica/keep.go",
		"k.pause == notPaused && r.jump(now).Abs() <= clockJump {", "k.pause == notPaused {", "node/replica", "Paused"},
	{"one heartbeat is enough after a jump of the clock", "node/replica/keepclock.go",
		"d.clock.agreeing >= clockSamples", "d.clock.agreeing > 0", "node/replica", "ExpiryPauses"},
	{"a record with an earlier receipt waits for the later one's time", "node/replica/wheel.go",
		"case k.slotOf(rec.Receipt.Sec) < w.lastSlot() && len(w.early) < maxEarly:", "case false:", "node/replica", "EarlierReceipt"},
	{"the ID of a removed record is free while the index of places has it", "node/replica/expire.go",
		"case r.changed != nil && r.changed.queued.has(id):", "case false:", "node/replica", "QueuesForget"},
	{"what is below a neighbour's floor is sent", "node/replica/answer.go",
		"if r.isBelow(id, floor) {", "if floor < 0 {", "node/replica", "TheirFloor"},
	{"a removed record stays in the digests", "node/store/remove.go",
		"m.digests.change(bucket, e.hash)", "m.digests.change(bucket, 0)", "node/store", "Remove"},
	{"the index loses a client behind a removed one", "node/store/index.go",
		"(next-home)&mask >= (next-i)&mask", "home != next", "node/store", "Remove"},

	// The journal.
	{"checksums of frames are not checked", "node/journal/frame.go",
		"return little.Uint64(frame[32:]) == xxhash.Sum64(frame[headerSize:])", "return len(frame) >= headerSize", "node/journal", "RandomDamage"},
	{"a compaction removes damaged files", "node/journal/compact.go",
		"} else if f.number < first && !f.damaged {", "} else if f.number < first {", "node/journal", "RandomDamage"},
	{"an append that failed counts", "node/journaling.go",
		"n.replica.JournalDone(err == nil)", "n.replica.JournalDone(true)", "node", "Journal"},
	{"news that came during an append counts as appended", "node/journaling.go",
		"n.journalled.advance(seq)", "n.journalled.advance(max(seq, n.replica.JournalSeq()))", "node", "Journal"},
	{"a reply does not wait for the journal", "node/journaling.go",
		"if n.journalled.done < seq {", "if n.journalled.done > seq {", "node", "Journal"},

	// Tombstones.
	{"a tombstone ranks as its record", "node/wire/tombstone.go",
		"t := of.Effective.Add(Instant{Nsec: nanosecond})", "t := of.Effective.Add(Instant{Nsec: nanosecond - 1})", "node/wire", "Tombstone"},
	{"a tombstone is replaced by another", "node/replica/forget.go",
		"case r.store.IsTombstone(id):", "case r.store.IsTombstone(id) && now.IsZero():", "node/replica", "Forget"},

	// Streams.
	{"a stalled stream goes on without confirmations", "node/replica/stream.go",
		"case s.bytes+size > streamWindow:", "case s.bytes+size > streamWindow<<10:", "node/replica", "Stream"},
	{"a client that leaves the area is not sent", "node/replica/stream.go",
		"return inside || told", "return inside", "node/replica", "Stream"},
	{"a change during the sweep is dropped", "node/replica/stream.go",
		"s.waiting.remove(id)\n\t\ts.cursor = id + 1", "s.waiting.remove(id)\n\t\ts.cursor = id + 64", "node/replica", "Stream"},
	{"a stream leaves out tombstones", "node/replica/stream.go",
		"case unknown && !s.Dump:\n\t\t\tif s.mustForget(id) {", "case unknown && !s.Dump:\n\t\t\tif false {", "node/replica", "Stream"},
	{"a follower does not notice a lost frame", "node/follow/follower.go",
		"m.Epoch != f.epoch || m.Seq != next {", "m.Epoch != f.epoch || m.Seq < next {", "node/replica", "Follower"},

	// The index of near.
	{"a search ends with the first result", "node/nearest/search.go",
		"return newSearch(x, source, from, km, limit, limit)\n", "return newSearch(x, source, from, km, limit, 1)\n", "node/nearest", "."},
	{"results of equal distance are in any order", "node/nearest/search.go",
		"return a.ID != b.ID && bytes.Compare(s.source.Client(a.ID), s.source.Client(b.ID)) < 0", "return a.ID < b.ID", "node/nearest", "."},
}
