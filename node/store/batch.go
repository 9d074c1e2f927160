package store

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// batch holds lines that are merged together. Merging a line takes three dependent
// cache misses: the index slot, the entry that it points to, and the line that the entry
// points to. prefetch makes each of these steps for all lines of the batch before the
// next step, so that the misses of 64 lines overlap. Without it an update takes 1.4 times
// the CPU with 2,000,000 clients (node/DESIGN.md).
type batch struct {
	lines  [batchSize]batchLine
	length int
	sink   uint64 // sum of the bytes that prefetch read, so that the compiler keeps the reads
}

const (
	batchSize = 64
	cacheLine = 64 // bytes
)

// batchLine is a line that is about to be merged.
type batchLine struct {
	header    wire.Header
	err       error  // the line is not a record
	indexHash uint64 // of the client
	lineHash  uint64

	slot slot   // prefetch: the first slot of the client's probe
	held ref    // prefetch: the line of that slot's entry
	size uint32 // prefetch: its length; 0 for none
}

// fill puts the next lines of frame into the batch and returns the rest of frame.
func (b *batch) fill(frame []byte) (rest []byte) {
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
		l := &b.lines[b.length]
		b.length++
		if l.header, l.err = wire.ParseHeader(line); l.err != nil {
			l.header.Line = line
			continue
		}
		l.indexHash, l.lineHash = clientHash(l.header.Client()), xxhash.Sum64(line)
	}
	return frame
}

// Prefetch loads into the processor's cache what merging records of these commands'
// clients will read.
func (m *Map) Prefetch(commands []wire.Command) {
	for len(commands) > 0 {
		m.batch.length = min(len(commands), batchSize)
		for i, c := range commands[:m.batch.length] {
			m.batch.lines[i].indexHash, m.batch.lines[i].err = clientHash(c.Client), nil
		}
		m.prefetch()
		commands = commands[m.batch.length:]
	}
}

// PrefetchRecords prepares for reading the records of these IDs. It changes nothing but the
// time that this takes.
func (m *Map) PrefetchRecords(ids []ID) {
	for len(ids) > 0 {
		some := ids[:min(len(ids), batchSize)]
		ids = ids[len(some):]
		sum := uint64(0)
		for i, id := range some {
			m.batch.lines[i].held, m.batch.lines[i].size = 0, 0
			if !m.Holds(id) {
				continue
			}
			e := m.entry(id)
			m.batch.lines[i].held, m.batch.lines[i].size = e.line, e.length
			sum += uint64(e.clientOffset) // an entry may span two cache lines
		}
		for i := range some {
			if m.batch.lines[i].size == 0 {
				continue
			}
			held := m.lines.at(m.batch.lines[i].held, m.batch.lines[i].size)
			sum += uint64(held[0]) + uint64(held[min(cacheLine, len(held)-1)])
		}
		m.batch.sink += sum
	}
}

// prefetch reads what merging the batch will read.
func (m *Map) prefetch() {
	lines := m.batch.lines[:m.batch.length]
	if len(m.index.slots) == 0 || len(lines) < 2 {
		return
	}
	for i := range lines {
		lines[i].slot = m.index.first(lines[i].indexHash)
	}
	sum := uint64(0)
	for i := range lines {
		l := &lines[i]
		l.size = 0
		if l.err == nil && l.slot.id != 0 {
			e := m.entry(l.slot.id - 1)
			l.held, l.size = e.line, e.length
			sum += e.hash + uint64(e.clientOffset) // an entry may span two cache lines
		}
	}
	const most = 256 // few lines are longer
	for i := range lines {
		held := m.lines.at(lines[i].held, min(lines[i].size, most))
		for at := 0; at < len(held); at += cacheLine {
			sum += uint64(held[at])
		}
	}
	m.batch.sink += sum
}
