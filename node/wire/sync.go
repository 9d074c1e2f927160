package wire

import (
	"encoding/binary"
	"errors"
)

// Repair between neighbours is a comparison by digests, coarse to fine, and then
// the lines that are lacking. One side asks, the other answers; to be repaired
// both ways, both ask. PROTOCOL.md, "Repair", has the bytes.

// Digests come in two levels.
const (
	Groups  = 256             // of 256 buckets each
	Buckets = Groups * Groups // of records
)

// SyncKind is the first byte of a message of repair.
type SyncKind byte

// The kinds: two questions, and what each is answered with.
const (
	RequestGroups SyncKind = 'G' // these are my groups' digests: which of yours differ?
	ReplyBuckets  SyncKind = 'B' // these groups, and these are their buckets' digests
	RequestLines  SyncKind = 'A' // in these buckets I have these records: what else have you?
	ReplyLines    SyncKind = 'L' // these lines
)

// Sync is the head of a message of repair.
type Sync struct {
	Kind SyncKind
	ID   uint64 // of the question, as the asker chose it; an answer has its question's
	Last bool   // of the messages that answer one question; a question is one message
	Both bool   // RequestLines: whoever sees that it lacks what the asker has is to ask too
	Done uint32 // ReplyLines, last: how many of the question's buckets are answered; the others must be asked for again
	Body []byte
}

var errNoSync = errors.New("not a message of repair")

// SyncHeaderSize is how many bytes Append puts before the body.
const SyncHeaderSize = 1 + 8 + 1 + 4 // kind, id, flags, done

const (
	flagLast = 1 << 0
	flagBoth = 1 << 1
)

// Append appends the message s.
func (s Sync) Append(dst []byte) []byte {
	dst = append(dst, byte(s.Kind))
	dst = binary.BigEndian.AppendUint64(dst, s.ID)
	var flags byte
	if s.Last {
		flags |= flagLast
	}
	if s.Both {
		flags |= flagBoth
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint32(dst, s.Done)
	return append(dst, s.Body...)
}

// ParseSync reads the head of a message; what its body is worth the readers of
// bodies say.
func ParseSync(b []byte) (Sync, error) {
	if len(b) < SyncHeaderSize {
		return Sync{}, errNoSync
	}
	s := Sync{
		Kind: SyncKind(b[0]), ID: binary.BigEndian.Uint64(b[1:]), Last: b[9]&flagLast != 0, Both: b[9]&flagBoth != 0,
		Done: binary.BigEndian.Uint32(b[10:]), Body: b[SyncHeaderSize:],
	}
	switch s.Kind {
	case RequestGroups, ReplyBuckets, RequestLines, ReplyLines:
		return s, nil
	}
	return Sync{}, errNoSync
}

// AppendDigests appends the body of RequestGroups, or of one group of ReplyBuckets
// behind its number.
func AppendDigests(dst []byte, digests *[Groups]uint64) []byte {
	for _, d := range digests {
		dst = binary.BigEndian.AppendUint64(dst, d)
	}
	return dst
}

const digestsSize = Groups * 8

// ParseDigests reads what AppendDigests wrote, all of b.
func ParseDigests(b []byte) (digests [Groups]uint64, err error) {
	if len(b) != digestsSize {
		return digests, errNoSync
	}
	for i := range digests {
		digests[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return digests, nil
}

// GroupSize is how many bytes AppendGroup appends.
const GroupSize = 1 + digestsSize

// AppendGroup appends one group to the body of ReplyBuckets.
func AppendGroup(dst []byte, group byte, digests *[Groups]uint64) []byte {
	return AppendDigests(append(dst, group), digests)
}

// EachGroup calls do for each group in the body of ReplyBuckets.
func EachGroup(body []byte, do func(group byte, digests *[Groups]uint64)) error {
	for len(body) > 0 {
		if len(body) < GroupSize {
			return errNoSync
		}
		digests, err := ParseDigests(body[1:GroupSize])
		if err != nil {
			return err
		}
		do(body[0], &digests)
		body = body[GroupSize:]
	}
	return nil
}

// AppendBucket appends one bucket to the body of RequestLines, with the hashes of the
// records that the asker has in it.
func AppendBucket(dst []byte, bucket uint16, hashes []uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, bucket)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(hashes)))
	for _, h := range hashes {
		dst = binary.BigEndian.AppendUint64(dst, h)
	}
	return dst
}

// NextBucket takes the first bucket off the body of RequestLines. hashes is appended to
// buf.
func NextBucket(body []byte, buf []uint64) (bucket uint16, hashes []uint64, rest []byte, err error) {
	if len(body) < 6 {
		return 0, nil, nil, errNoSync
	}
	bucket = binary.BigEndian.Uint16(body)
	n := int(binary.BigEndian.Uint32(body[2:]))
	body = body[6:]
	if n > len(body)/8 {
		return 0, nil, nil, errNoSync
	}
	for i := range n {
		buf = append(buf, binary.BigEndian.Uint64(body[8*i:]))
	}
	return bucket, buf, body[8*n:], nil
}
