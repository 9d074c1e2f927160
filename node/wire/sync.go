package wire

import (
	"encoding/binary"
	"errors"
)

// Repair makes the maps of two neighbours equal. The requester compares digests, first of
// groups and then of buckets, and receives the lines that it does not have. Only the
// requester receives lines, so for repair in both directions both sides request.
// PROTOCOL.md, "Repair", has the format.

// Digests have two levels.
const (
	Groups  = 256             // of 256 buckets each
	Buckets = Groups * Groups // of records
)

// SyncKind is the kind of a repair message: its first byte.
type SyncKind byte

// The kinds: two requests, each followed by its reply.
const (
	RequestGroups SyncKind = 'G' // the digests of the requester's groups
	ReplyBuckets  SyncKind = 'B' // the groups that differ, and the digests of their buckets
	RequestLines  SyncKind = 'A' // buckets, and the hashes of the requester's records in them
	ReplyLines    SyncKind = 'L' // the other records of those buckets
)

// Sync is a repair message.
type Sync struct {
	Kind SyncKind
	ID   uint64 // chosen by the requester; replies have the ID of their request
	Last bool   // the last message of a reply; a request is one message
	Both bool   // RequestLines: the replier shall request too if the requester has records that it does not have
	Done uint32 // ReplyLines, last message: number of buckets of the request that are answered; the others must be requested again
	// Floor is the requester's, as in Heartbeat; 0 in replies. It stands in the place of Done.
	Floor int64
	Body  []byte
}

var errNoSync = errors.New("not a repair message")

// SyncHeaderSize is the number of bytes before the body.
const SyncHeaderSize = 1 + 8 + 1 + 4 // kind, id, flags, done or floor

func (k SyncKind) isRequest() bool { return k == RequestGroups || k == RequestLines }

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
	done := s.Done
	if s.Kind.isRequest() {
		done = uint32(s.Floor)
	}
	dst = binary.BigEndian.AppendUint32(dst, done)
	return append(dst, s.Body...)
}

// ParseSync parses a repair message, except its body: see ParseDigests, EachGroup and
// NextBucket.
func ParseSync(b []byte) (Sync, error) {
	if len(b) < SyncHeaderSize {
		return Sync{}, errNoSync
	}
	s := Sync{
		Kind: SyncKind(b[0]), ID: binary.BigEndian.Uint64(b[1:]), Last: b[9]&flagLast != 0, Both: b[9]&flagBoth != 0,
		Done: binary.BigEndian.Uint32(b[10:]), Body: b[SyncHeaderSize:],
	}
	if s.Kind.isRequest() {
		s.Floor, s.Done = int64(s.Done), 0
	}
	switch s.Kind {
	case RequestGroups, ReplyBuckets, RequestLines, ReplyLines:
		return s, nil
	}
	return Sync{}, errNoSync
}

// AppendDigests appends the body of RequestGroups.
func AppendDigests(dst []byte, digests *[Groups]uint64) []byte {
	for _, d := range digests {
		dst = binary.BigEndian.AppendUint64(dst, d)
	}
	return dst
}

const digestsSize = Groups * 8

// ParseDigests parses the body of RequestGroups.
func ParseDigests(b []byte) (digests [Groups]uint64, err error) {
	if len(b) != digestsSize {
		return digests, errNoSync
	}
	for i := range digests {
		digests[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return digests, nil
}

// GroupSize is the number of bytes that AppendGroup appends.
const GroupSize = 1 + digestsSize

// AppendGroup appends one group to the body of ReplyBuckets: its number and the digests of
// its buckets.
func AppendGroup(dst []byte, group byte, digests *[Groups]uint64) []byte {
	return AppendDigests(append(dst, group), digests)
}

// EachGroup calls do for each group in the body of ReplyBuckets, until the first that is
// malformed.
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
// requester's records in it.
func AppendBucket(dst []byte, bucket uint16, hashes []uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, bucket)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(hashes)))
	for _, h := range hashes {
		dst = binary.BigEndian.AppendUint64(dst, h)
	}
	return dst
}

// NextBucket parses the first bucket of the body of RequestLines and returns the rest of
// the body. It appends the hashes to buf.
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
