package journal

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/cespare/xxhash/v2"
)

// A frame of a segment is a header and the lines of records. All numbers are
// little-endian. The header says to which journal and segment the frame belongs and which
// of the segment's frames it is: a block that the disk has mixed up is recognised, and
// every frame that is found can be used, whatever is around it.
//
//	 0 marker   4 bytes
//	 4 check    4 bytes: the low half of xxhash64 of the rest of the header
//	 8 journal  8 bytes: the journal's random ID
//	16 segment  8 bytes: the segment's number
//	24 number   4 bytes: the frame's number in the segment, from 0
//	28 length   4 bytes: of the lines
//	32 sum      8 bytes: xxhash64 of the lines
const (
	headerSize = 40
	maxFrame   = 16 << 20 // the largest length of the lines
	readSize   = 1 << 20
)

// frameMarker begins each frame. Its last byte is the format's version.
var frameMarker = []byte{0xf7, 'H', 'J', 1}

// frameID says which frame of which segment a frame is.
type frameID struct {
	journal, segment uint64
	number           uint32
}

var little = binary.LittleEndian

// appendFrame appends a frame to dst.
func appendFrame(dst []byte, id frameID, lines []byte) []byte {
	at := len(dst)
	dst = append(dst, frameMarker...)
	dst = append(dst, 0, 0, 0, 0)
	dst = little.AppendUint64(dst, id.journal)
	dst = little.AppendUint64(dst, id.segment)
	dst = little.AppendUint32(dst, id.number)
	dst = little.AppendUint32(dst, uint32(len(lines)))
	dst = little.AppendUint64(dst, xxhash.Sum64(lines))
	little.PutUint32(dst[at+4:], uint32(xxhash.Sum64(dst[at+8:])))
	return append(dst, lines...)
}

// parseHeader returns what the header of a frame says.
func parseHeader(h []byte) (id frameID) {
	return frameID{little.Uint64(h[8:]), little.Uint64(h[16:]), little.Uint32(h[24:])}
}

// format tells scan how the frames of a file look.
type format struct {
	marker   []byte // in the header of each frame
	markerAt int    // its offset
	header   int    // size of the header

	// size is the size of the frame that begins with a header, or 0 if it is no header.
	size func(header []byte) int
	// valid reports whether the checksum of a frame is right.
	valid func(frame []byte) bool
}

// segmentFormat is the format of this package's segments.
var segmentFormat = format{
	marker: frameMarker, header: headerSize,
	size: func(h []byte) int {
		length := little.Uint32(h[28:])
		if !bytes.HasPrefix(h, frameMarker) || little.Uint32(h[4:]) != uint32(xxhash.Sum64(h[8:headerSize])) || length > maxFrame {
			return 0
		}
		return headerSize + int(length)
	},
	valid: func(frame []byte) bool {
		return little.Uint64(frame[32:]) == xxhash.Sum64(frame[headerSize:])
	},
}

// span is a part of a file, from an offset up to another.
type span struct{ from, to int64 }

// scan reads a file to its end and calls take for each valid frame, with its offset.
// Behind something that is not a valid frame it searches for the next one. It returns the
// spans that are no frames, and the file's size. The error is one of reading: then the
// rest was not read.
func scan(r io.Reader, f format, take func(frame []byte, offset int64)) (bad []span, size int64, err error) {
	w := window{r: r}
	skipped := int64(-1) // where the current bad span begins
	for {
		if err := w.fill(f.header); err != nil {
			return bad, 0, err
		}
		if len(w.rest()) == 0 {
			break
		}
		size := 0
		if b := w.rest(); len(b) >= f.header {
			size = f.size(b)
		}
		if size > 0 {
			if err := w.fill(size); err != nil {
				return bad, 0, err
			}
		}
		if b := w.rest(); size > 0 && size <= len(b) && f.valid(b[:size]) {
			if skipped >= 0 {
				bad, skipped = append(bad, span{skipped, w.offset()}), -1
			}
			take(b[:size], w.offset())
			w.start += size
			continue
		}
		if skipped < 0 {
			skipped = w.offset()
		}
		if err := w.skipTo(f.marker, f.markerAt); err != nil {
			return bad, 0, err
		}
	}
	if skipped >= 0 {
		bad = append(bad, span{skipped, w.offset()})
	}
	return bad, w.offset(), nil
}

// window is a part of a file in memory.
type window struct {
	r     io.Reader
	buf   []byte
	base  int64 // offset of buf in the file
	start int   // in buf: what was read before it is done
	end   bool  // of the file
}

func (w *window) rest() []byte  { return w.buf[w.start:] }
func (w *window) offset() int64 { return w.base + int64(w.start) }

// fill reads until the window has n more bytes, or the file ends.
func (w *window) fill(n int) error {
	if len(w.rest()) >= n || w.end {
		return nil
	}
	w.base += int64(w.start)
	kept := copy(w.buf, w.rest())
	if want := max(n, readSize); cap(w.buf) < want {
		w.buf = append(make([]byte, 0, want), w.buf[:kept]...)
	}
	w.buf, w.start = w.buf[:kept], 0
	for len(w.buf) < n {
		read, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+read]
		if err == io.EOF {
			w.end = true
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// skipTo moves the window's start, by at least one byte, to where the next frame may
// begin: to at bytes before the next marker, or to the end of the file.
func (w *window) skipTo(marker []byte, at int) error {
	for w.start++; ; {
		if b := w.rest(); len(b) > at {
			if i := bytes.Index(b[at:], marker); i >= 0 {
				w.start += i
				return nil
			}
		}
		if w.end {
			w.start = len(w.buf)
			return nil
		}
		most := at + len(marker) - 1 // the part of a marker that the next piece may complete
		w.start = max(w.start, len(w.buf)-most)
		if err := w.fill(most + 1); err != nil {
			return err
		}
	}
}
