package store

import "encoding/binary"

// arena stores lines in large chunks. The garbage collector has few pointers to follow,
// and replacing a line by one of the same size class allocates nothing. A freed slot is
// reused for lines of its size class. In the worst case, a client takes one slot in each size
// class that its line ever had. Memory is returned by an evacuation only (evacuate.go). The zero
// arena is empty.
type arena struct {
	chunks [][]byte
	small  slab[byte]       // allocates the chunks of small lines
	smalls []uint32         // numbers of these chunks, without those that are being evacuated
	unused ref              // start of the unused rest of the last small chunk
	left   int              // bytes in that rest
	free   [classes + 1]ref // by size class: list of free slots, linked through their first bytes
	vacant []uint32         // numbers without a chunk
	bytes  int64            // of all slots of small lines, free ones included, and of the large lines
	spare  int64            // of the free slots among them

	leaving []uint64 // chunks that are being evacuated, one bit each; nil for none
}

// ref is where a line is stored: the number of its chunk in the upper half, its offset
// in the chunk in the lower half. No line has ref 0.
type ref uint64

const (
	chunkSize = 32 << 10
	classSize = 8  // sizes are rounded up to a multiple of this
	classes   = 64 // small lines have up to classes*classSize bytes; a larger one has a chunk of its own
)

func classOf(length int) int { return (length + classSize - 1) / classSize }

// at is the line of length bytes at p. It is valid until it is replaced.
func (a *arena) at(p ref, length uint32) []byte {
	begin := uint32(p)
	return a.chunks[p>>32][begin : begin+length : begin+length]
}

// add stores a copy of line.
func (a *arena) add(line []byte) ref {
	class := classOf(len(line))
	var p ref
	switch {
	case class > classes:
		p = a.largeSlot(len(line))
	case a.free[class] != 0:
		p = a.free[class]
		a.spare -= int64(class * classSize)
		a.free[class] = ref(binary.LittleEndian.Uint64(a.at(p, classSize)))
	default:
		p = a.newSlot(class * classSize)
	}
	copy(a.at(p, uint32(len(line))), line)
	return p
}

// replace stores line in place of the line of length bytes at p, or in another slot if
// its size class differs. It returns where line is stored now.
func (a *arena) replace(p ref, length uint32, line []byte) ref {
	if classOf(int(length)) == classOf(len(line)) {
		copy(a.at(p, uint32(len(line))), line)
		return p
	}
	a.remove(p, length)
	return a.add(line)
}

// remove removes the line of length bytes at p.
func (a *arena) remove(p ref, length uint32) {
	class := classOf(int(length))
	size := int64(class * classSize)
	switch {
	case class > classes:
		a.bytes -= size
		a.chunks[p>>32] = nil
		a.vacant = append(a.vacant, uint32(p>>32))
	case a.isLeaving(p):
		a.bytes -= size
	default:
		binary.LittleEndian.PutUint64(a.at(p, classSize), uint64(a.free[class]))
		a.free[class] = p
		a.spare += size
	}
}

// growth is by how much bytes grows when a line of a length is added.
func (a *arena) growth(length int) int64 {
	class := classOf(length)
	if class <= classes && a.free[class] != 0 {
		return 0
	}
	return int64(class * classSize)
}

func (a *arena) newSlot(size int) ref {
	if a.left < size { // the rest of the chunk, less than a slot, stays unused
		n := a.newChunk(a.small.next(chunkSize))
		a.smalls = append(a.smalls, n)
		a.unused, a.left = ref(n)<<32, chunkSize
	}
	p := a.unused
	a.bytes += int64(size)
	a.unused += ref(size)
	a.left -= size
	return p
}

func (a *arena) largeSlot(length int) ref {
	chunk := make([]byte, classOf(length)*classSize)
	a.bytes += int64(len(chunk))
	return ref(a.newChunk(chunk)) << 32
}

// newChunk adds a chunk and returns its number.
func (a *arena) newChunk(chunk []byte) (n uint32) {
	if last := len(a.vacant) - 1; last >= 0 {
		n, a.vacant = a.vacant[last], a.vacant[:last]
		a.chunks[n] = chunk
		return n
	}
	a.reserveZero()
	a.chunks = append(a.chunks, chunk)
	return uint32(len(a.chunks) - 1)
}

// reserveZero keeps chunk 0 empty, so that no line has ref 0.
func (a *arena) reserveZero() {
	if len(a.chunks) == 0 {
		a.chunks = append(a.chunks, nil)
	}
}
