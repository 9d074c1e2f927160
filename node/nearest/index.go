package nearest

import (
	"slices"
	"unsafe"

	"herd/node/geo"
	"herd/node/store"
)

const (
	blockIDs   = 31  // in a block of 128 bytes
	pageBlocks = 256 // in a page of 4 KB
	groupSize  = 1 << 10
	// Two neighbours are merged if they have at most this much together: less than one holds,
	// so that the next ID does not divide it again.
	mergeIDs    = 28
	mergeBlocks = 224
)

// Index maps clients to places. The zero Index is empty. It is not safe for concurrent
// use.
type Index struct {
	cells  [][]cell // by ID, in groups of groupSize
	blocks [][]block
	used   int      // blocks that were ever used
	free   []uint32 // of those, the ones that are not used now
	pages  []*page  // in the order of their keys
	firsts []key    // of pages: no key in a page is less
	length int
}

// cell is the number of a cell in 6 bytes.
type cell [3]uint16

func (c cell) number() uint64 { return uint64(c[0])<<32 | uint64(c[1])<<16 | uint64(c[2]) }

func newCell(z uint64) cell { return cell{uint16(z >> 32), uint16(z >> 16), uint16(z)} }

// block has the IDs of one range of keys, in no order.
type block struct {
	length uint32
	ids    [blockIDs]store.ID
}

// page is a run of blocks.
type page struct {
	length int
	refs   [pageBlocks]ref
}

// ref is a block in its page. The block has the keys from first to the first of the next.
type ref struct {
	z     uint64
	id    store.ID
	block uint32
}

func (r ref) first() key { return key{r.z, r.id} }

// place is where a block stands.
type place struct{ page, slot int }

// Len is the number of clients.
func (x *Index) Len() int { return x.length }

// Bytes is the memory that the index takes.
func (x *Index) Bytes() int64 {
	return int64(len(x.cells))*int64(groupSize*unsafe.Sizeof(cell{})) +
		int64(len(x.blocks))*int64(groupSize*unsafe.Sizeof(block{})) +
		int64(len(x.pages))*int64(unsafe.Sizeof(page{})+unsafe.Sizeof(key{})) + int64(4*cap(x.free))
}

// Set puts a client to a place, in place of its former one.
func (x *Index) Set(id store.ID, p geo.Point) {
	z, was := cellOf(p), x.cellOf(id)
	if z == was {
		return
	}
	to := x.find(key{z, id})
	if was != nowhere {
		from := x.find(key{was, id})
		if from == to {
			x.setCell(id, z)
			return
		}
		if x.take(from, key{was, id}) {
			to = x.find(key{z, id})
		}
	}
	x.setCell(id, z)
	x.put(to, key{z, id})
}

// Remove removes a client, if it is there.
func (x *Index) Remove(id store.ID) {
	if z := x.cellOf(id); z != nowhere {
		x.take(x.find(key{z, id}), key{z, id})
		x.setCell(id, nowhere)
	}
}

func (x *Index) cellOf(id store.ID) uint64 {
	if group := int(id / groupSize); group < len(x.cells) {
		return x.cells[group][id%groupSize].number()
	}
	return nowhere
}

func (x *Index) setCell(id store.ID, z uint64) {
	for int(id/groupSize) >= len(x.cells) {
		group := make([]cell, groupSize)
		for i := range group {
			group[i] = newCell(nowhere)
		}
		x.cells = append(x.cells, group)
	}
	x.cells[id/groupSize][id%groupSize] = newCell(z)
}

// key is the key of a client in the index.
func (x *Index) key(id store.ID) key { return key{x.cellOf(id), id} }

func (x *Index) ref(at place) *ref { return &x.pages[at.page].refs[at.slot] }

func (x *Index) block(n uint32) *block { return &x.blocks[n/groupSize][n%groupSize] }

// at is the block at a place.
func (x *Index) at(p place) *block { return x.block(x.ref(p).block) }

// find is the place of the block whose range has a key. The index must not be empty, or
// the first block is made.
func (x *Index) find(k key) place {
	if len(x.pages) == 0 {
		p := &page{length: 1}
		p.refs[0] = ref{block: x.newBlock()}
		x.pages, x.firsts = append(x.pages, p), append(x.firsts, key{})
	}
	low, high := 0, len(x.firsts) // firsts[low] is not greater than k
	for high-low > 1 {
		if middle := int(uint(low+high) / 2); k.less(x.firsts[middle]) {
			high = middle
		} else {
			low = middle
		}
	}
	p := x.pages[low]
	slot, end := 0, p.length
	for end-slot > 1 {
		if middle := int(uint(slot+end) / 2); k.less(p.refs[middle].first()) {
			end = middle
		} else {
			slot = middle
		}
	}
	return place{low, slot}
}

// next is the place after p.
func (x *Index) next(p place) (after place, ok bool) {
	if p.slot++; p.slot < x.pages[p.page].length {
		return p, true
	}
	p = place{p.page + 1, 0}
	return p, p.page < len(x.pages)
}

func (x *Index) newBlock() uint32 {
	if last := len(x.free) - 1; last >= 0 {
		n := x.free[last]
		x.free = x.free[:last]
		return n
	}
	if x.used%groupSize == 0 {
		x.blocks = append(x.blocks, make([]block, groupSize))
	}
	x.used++
	return uint32(x.used - 1)
}

// put puts a client, whose cell is set, into the block at a place.
func (x *Index) put(to place, k key) {
	x.length++
	b := x.at(to)
	if b.length < blockIDs {
		b.ids[b.length] = k.id
		b.length++
		return
	}
	// Divide the block: its upper half goes to a new one. Keys that ascend, such as those of
	// new clients in one cell, leave behind blocks that are fuller than that.
	var keys [blockIDs + 1]key
	for i, id := range b.ids {
		keys[i] = x.key(id)
	}
	keys[blockIDs] = k
	slices.SortFunc(keys[:], func(a, b key) int {
		if a.less(b) {
			return -1
		}
		return 1 // no two are equal
	})
	lower := len(keys) / 2
	if keys[blockIDs] == k {
		lower = len(keys) * 3 / 4
	}
	n := x.newBlock()
	upper := x.block(n)
	b.length, upper.length = uint32(lower), uint32(len(keys)-lower)
	for i, k := range keys {
		if i < lower {
			b.ids[i] = k.id
		} else {
			upper.ids[i-lower] = k.id
		}
	}
	x.insert(to, ref{keys[lower].z, keys[lower].id, n})
}

// insert inserts a block after the one at a place.
func (x *Index) insert(after place, r ref) {
	p := x.pages[after.page]
	if p.length == pageBlocks {
		upper := &page{length: pageBlocks / 2}
		copy(upper.refs[:], p.refs[pageBlocks/2:])
		p.length = pageBlocks / 2
		x.pages = slices.Insert(x.pages, after.page+1, upper)
		x.firsts = slices.Insert(x.firsts, after.page+1, upper.refs[0].first())
		if after.slot >= p.length {
			after = place{after.page + 1, after.slot - p.length}
			p = upper
		}
	}
	copy(p.refs[after.slot+2:p.length+1], p.refs[after.slot+1:p.length])
	p.refs[after.slot+1] = r
	p.length++
}

// take takes a client out of the block at a place. It reports whether places have changed.
func (x *Index) take(from place, k key) (moved bool) {
	x.length--
	b := x.at(from)
	b.length--
	for i := range b.ids[:b.length] {
		if b.ids[i] == k.id {
			b.ids[i] = b.ids[b.length]
			break
		}
	}
	p := x.pages[from.page]
	for _, slot := range [...]int{from.slot, from.slot - 1} { // with the next block, with the one before
		if slot < 0 || slot+1 >= p.length {
			continue
		}
		lower, upper := x.block(p.refs[slot].block), x.block(p.refs[slot+1].block)
		if lower.length+upper.length > mergeIDs {
			continue
		}
		copy(lower.ids[lower.length:], upper.ids[:upper.length])
		lower.length += upper.length
		x.free = append(x.free, p.refs[slot+1].block)
		copy(p.refs[slot+1:p.length-1], p.refs[slot+2:p.length])
		p.length--
		x.mergePages(from.page)
		return true
	}
	return false
}

// mergePages merges a page with a neighbour, if they have few blocks.
func (x *Index) mergePages(n int) {
	for _, n := range [...]int{n, n - 1} {
		if n < 0 || n+1 >= len(x.pages) {
			continue
		}
		lower, upper := x.pages[n], x.pages[n+1]
		if lower.length+upper.length <= mergeBlocks {
			copy(lower.refs[lower.length:], upper.refs[:upper.length])
			lower.length += upper.length
			x.pages, x.firsts = slices.Delete(x.pages, n+1, n+2), slices.Delete(x.firsts, n+1, n+2)
			return
		}
	}
}
