package replica

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// batch is room for lines that are merged together. Each needs a slot of the index,
// then the entry that it leads to, then the line that that leads to, all of them
// scattered over more memory than a processor has near it; one line after the other
// would wait for each. So all lines' first steps are made before any's second, and
// the processor, which waits for many at a time, waits about as long for all as for
// one.
type batch struct {
	lines  [batchSize]incoming
	length int
	sum    uint64 // of what was read only to have it near, so that it is read
}

const batchSize = 64

// incoming is a line that is about to be merged.
type incoming struct {
	cut     wire.Cut
	err     error  // it is no record
	inIndex uint64 // hash of the client
	hash    uint64 // of the line

	slot slot  // the first that may be the client's
	held place // of the line that its entry has
	size uint32
}

// take puts the next lines of frame into the batch, and returns the rest.
func (m *Map) take(frame []byte) (rest []byte) {
	b := &m.batch
	for b.length = 0; b.length < batchSize && len(frame) > 0; {
		line := frame
		if lf := bytes.IndexByte(frame, '\n'); lf >= 0 {
			line, frame = frame[:lf], frame[lf+1:]
		} else {
			frame = nil
		}
		if len(line) == 0 {
			continue
		}
		in := &b.lines[b.length]
		b.length++
		if in.cut, in.err = wire.CutRecord(line); in.err != nil {
			in.cut.Line = line
			continue
		}
		in.inIndex, in.hash = m.index.hash(in.cut.Client()), xxhash.Sum64(line)
	}
	return frame
}

// expect says that records of these clients are about to be merged.
func (m *Map) expect(commands []wire.Command) {
	for len(commands) > 0 {
		m.batch.length = min(len(commands), batchSize)
		for i, c := range commands[:m.batch.length] {
			m.batch.lines[i].inIndex, m.batch.lines[i].err = m.index.hash(c.Client), nil
		}
		m.bringNear()
		commands = commands[m.batch.length:]
	}
}

// bringNear reads what merging the batch will read.
func (m *Map) bringNear() {
	lines := m.batch.lines[:m.batch.length]
	if len(m.index.slots) == 0 || len(lines) < 2 {
		return
	}
	for i := range lines {
		lines[i].slot = m.index.first(lines[i].inIndex)
	}
	sum := uint64(0)
	for i := range lines {
		in := &lines[i]
		in.size = 0
		if in.err == nil && in.slot.id != 0 {
			e := m.entry(in.slot.id - 1)
			in.held, in.size = e.line, e.length
			sum += e.hash + uint64(e.clientAt) // an entry's ends: it may be in two cache lines
		}
	}
	const cacheLine, most = 64, 256 // of a line, bytes: few are longer
	for i := range lines {
		held := m.lines.at(lines[i].held, min(lines[i].size, most))
		for at := 0; at < len(held); at += cacheLine {
			sum += uint64(held[at])
		}
	}
	m.batch.sum += sum
}
