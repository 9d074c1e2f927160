package replica

import "encoding/binary"

// arena keeps the bytes of lines in large chunks, so that the collector has few
// pointers to follow and a line that is replaced by one of about its length costs
// no allocation. A slot that is freed is used again for lines of its size class;
// of what was once taken nothing is given back, so an arena holds at most what all
// lines would take at the largest that each has been, in each class. The zero
// arena is empty.
type arena struct {
	chunks [][]byte
	small  slab[byte]         // where they come from, but for those of large lines
	room   place              // where the free rest of the last small chunk begins
	left   int                // how many bytes that is
	free   [classes + 1]place // by class, a list of free slots, linked through their first bytes
	large  []uint32           // numbers of chunks that held one large line, and are free
}

// place is where a line is: the number of its chunk in the upper half, where it
// begins there in the lower. Place 0 is no line's.
type place uint64

const (
	chunkSize = 32 << 10
	grain     = 8  // what sizes are rounded up to
	classes   = 64 // of small lines, up to classes*grain bytes; a larger one has a chunk of its own
)

func classOf(length int) int { return (length + grain - 1) / grain }

// at is the line of length bytes at p. It is good until it is replaced.
func (a *arena) at(p place, length uint32) []byte {
	begin := uint32(p)
	return a.chunks[p>>32][begin : begin+length : begin+length]
}

// add keeps a copy of line and returns its place.
func (a *arena) add(line []byte) place {
	class := classOf(len(line))
	var p place
	switch {
	case class > classes:
		p = a.largeSlot(len(line))
	case a.free[class] != 0:
		p = a.free[class]
		a.free[class] = place(binary.LittleEndian.Uint64(a.at(p, grain)))
	default:
		p = a.newSlot(class * grain)
	}
	copy(a.at(p, uint32(len(line))), line)
	return p
}

// replace puts line where one of length bytes is, or elsewhere if it does not fit,
// and returns its place.
func (a *arena) replace(p place, length uint32, line []byte) place {
	was, class := classOf(int(length)), classOf(len(line))
	if was == class {
		copy(a.at(p, uint32(len(line))), line)
		return p
	}
	if was > classes {
		a.chunks[p>>32] = nil
		a.large = append(a.large, uint32(p>>32))
	} else {
		binary.LittleEndian.PutUint64(a.at(p, grain), uint64(a.free[was]))
		a.free[was] = p
	}
	return a.add(line)
}

func (a *arena) newSlot(size int) place {
	if a.left < size { // the rest is lost, less than a slot
		if len(a.chunks) == 0 { // place 0 is no line's
			a.chunks = append(a.chunks, nil)
		}
		a.room, a.left = place(len(a.chunks))<<32, chunkSize
		a.chunks = append(a.chunks, a.small.next(chunkSize))
	}
	p := a.room
	a.room += place(size)
	a.left -= size
	return p
}

func (a *arena) largeSlot(length int) place {
	chunk := make([]byte, classOf(length)*grain)
	if last := len(a.large) - 1; last >= 0 {
		n := a.large[last]
		a.large = a.large[:last]
		a.chunks[n] = chunk
		return place(n) << 32
	}
	if len(a.chunks) == 0 { // place 0 is no line's
		a.chunks = append(a.chunks, nil)
	}
	a.chunks = append(a.chunks, chunk)
	return place(len(a.chunks)-1) << 32
}
