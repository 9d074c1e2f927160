package replica

import (
	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// digests sums a map up in two levels, so that two maps can be compared by little
// and their differences found by what differs. Each client belongs to one bucket,
// each bucket to one group; a digest is the XOR of the hashes of its records'
// lines, so that changing one record changes three digests, whatever their order.
//
// Every server must compute the same: xxHash64 of the bytes of the line, and for
// the bucket the upper 16 bits of that of the client. It is no defence against
// whoever makes up lines so that they cancel each other out.
type digests struct {
	root    uint64
	groups  [wire.Groups]uint64
	buckets [wire.Groups][wire.Groups]uint64 // but for what is pending: see group
	// first is the ID of each bucket's latest client plus one, entry.next of the
	// one before it; 0 is none.
	first [wire.Buckets]ID

	// pending is changes of buckets that have not been made: a bucket is seldom near
	// in memory, and many together are waited for about as long as one.
	pending [batchSize]change
	changes int // how many are pending
}

type change struct {
	bucket uint16
	hash   uint64
}

func bucketOf(client []byte) uint16 { return uint16(xxhash.Sum64(client) >> 48) }

// change notes that hash came to a bucket, or went.
func (d *digests) change(bucket uint16, hash uint64) {
	d.root ^= hash
	d.groups[bucket>>8] ^= hash
	d.pending[d.changes] = change{bucket, hash}
	if d.changes++; d.changes == len(d.pending) {
		d.settle()
	}
}

func (d *digests) settle() {
	for _, c := range d.pending[:d.changes] {
		d.buckets[c.bucket>>8][c.bucket&0xff] ^= c.hash
	}
	d.changes = 0
}

// group is the digests of a group's buckets, until the next change.
func (d *digests) group(g byte) *[wire.Groups]uint64 {
	d.settle()
	return &d.buckets[g]
}

// eachIn calls do for each record in a bucket, with the hash of its line.
func (m *Map) eachIn(bucket uint16, do func(id ID, hash uint64)) {
	if m.digests == nil {
		return
	}
	for next := m.digests.first[bucket]; next != 0; {
		e := m.entry(next - 1)
		do(next-1, e.hash)
		next = e.next
	}
}

// Digest is of all records: equal for equal maps, and 0 for an empty one.
func (m *Map) Digest() uint64 {
	if m.digests == nil {
		return 0
	}
	return m.digests.root
}
