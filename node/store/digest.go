package store

import (
	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// digests summarise a map in two levels, so that two servers can compare their maps
// cheaply and find where they differ. Each client belongs to one bucket, each bucket to
// one group. A digest is the XOR of the hashes of its records' lines, so it does not
// depend on their order, and a changed record changes three digests.
//
// All servers must compute the same digests: the hash is the xxHash64 of the line's
// bytes, and the bucket is the upper 16 bits of the xxHash64 of the client. Digests find
// losses. They are no defence against a server that crafts lines to cancel out.
type digests struct {
	root    uint64
	groups  [wire.Groups]uint64
	buckets [wire.Groups][wire.Groups]uint64 // without the pending changes: see group
	// first is the ID plus one of each bucket's newest client; entry.next leads to the
	// one before. 0 is the end.
	first [wire.Buckets]ID

	// pending holds changes of buckets that are not applied yet. A bucket is seldom in
	// the cache: applying many changes at a time overlaps the misses.
	pending [batchSize]change
	changes int // number of pending ones
}

type change struct {
	bucket uint16
	hash   uint64
}

// BucketOf is the bucket of a record, given its line.
func BucketOf(line []byte) uint16 {
	h, _ := wire.ParseHeader(line) // of a record that was merged
	return bucketOf(h.Client())
}

func bucketOf(client []byte) uint16 { return uint16(xxhash.Sum64(client) >> 48) }

// change XORs hash into the digests of a bucket.
func (d *digests) change(bucket uint16, hash uint64) {
	d.root ^= hash
	d.groups[bucket>>8] ^= hash
	d.pending[d.changes] = change{bucket, hash}
	if d.changes++; d.changes == len(d.pending) {
		d.apply()
	}
}

// apply applies the pending changes.
func (d *digests) apply() {
	for _, c := range d.pending[:d.changes] {
		d.buckets[c.bucket>>8][c.bucket&0xff] ^= c.hash
	}
	d.changes = 0
}

// Digest is the digest of all records: equal for equal maps, and 0 for an empty one.
func (m *Map) Digest() uint64 {
	if m.digests == nil {
		return 0
	}
	return m.digests.root
}

// Groups is the digests of all groups.
func (m *Map) Groups() (groups [wire.Groups]uint64) {
	if m.digests != nil {
		groups = m.digests.groups
	}
	return groups
}

// Group is the digests of a group's buckets.
func (m *Map) Group(g byte) (buckets [wire.Groups]uint64) {
	if m.digests != nil {
		m.digests.apply()
		buckets = m.digests.buckets[g]
	}
	return buckets
}

// EachInBucket calls do for each record of a bucket, with the hash of its line.
func (m *Map) EachInBucket(bucket uint16, do func(id ID, hash uint64)) {
	if m.digests == nil {
		return
	}
	for next := m.digests.first[bucket]; next != 0; {
		e := m.entry(next - 1)
		if e.holds() {
			do(next-1, e.hash)
		}
		next = e.next
	}
}
