package replica

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// replySize is the size after which a reply of lines ends. The neighbour requests the
// rest.
const replySize = 1 << 20

// compareAtOnce is how many records one message of a comparison may make us look at; the last bucket is looked at as a whole.
// Most of them may be below a floor, or the same on both sides, so the size of the message does not bound them.
const compareAtOnce = 8192

// Reply is the reply to one request of a neighbour. It is made message by message, so
// that the server can release its lock between them.
type Reply struct {
	replica *Replica
	edge    int
	now     time.Time
	request wire.Sync

	// For RequestGroups:
	theirs [wire.Groups]uint64 // digests
	group  int                 // next to look at

	// For RequestLines:
	buckets []byte     // of the request, not yet answered
	done    uint32     // number of those answered
	have    []uint64   // hashes of the records that the neighbour has in one bucket
	lines   []byte     // answered and not yet in a message
	pending []answered // records of the last message, then those of lines
	inLast  int        // number of records of the last message
	size    int        // bytes answered
	looked  int        // records looked at for this message
}

// answered is a record that a reply holds.
type answered struct {
	id     store.ID
	hash   uint64 // of its line
	length int    // of its line, with the LF
}

// HandleRequest handles a request that arrived over edge e. The messages of the reply go
// back over the same edge: call Next for each, and Sent once it was sent.
func (r *Replica) HandleRequest(e int, request []byte, now time.Time) (*Reply, []Event, error) {
	if r.cfg.Repair == 0 {
		return nil, nil, errors.New("repair is off on this server")
	}
	d := r.edges[e]
	if d.quarantined(now) {
		return nil, nil, errQuarantined
	}
	a, err := r.newReply(e, request, now)
	events := r.judgeError(e, err, now)
	if err == nil {
		events = r.judgeRequest(e, a.request.Kind, now)
	}
	if d.quarantined(now) {
		return nil, events, errQuarantined
	}
	return a, events, err
}

func (r *Replica) newReply(e int, request []byte, now time.Time) (*Reply, error) {
	m, err := wire.ParseSync(request)
	if err != nil {
		return nil, offending{err}
	}
	a := &Reply{replica: r, edge: e, now: now, request: m, buckets: m.Body}
	switch m.Kind {
	case wire.RequestGroups:
		if a.theirs, err = wire.ParseDigests(m.Body); err != nil {
			err = offending{err}
		}
		return a, err
	case wire.RequestLines:
		return a, nil
	}
	return nil, offending{fmt.Errorf("message of kind %q is not a request", m.Kind)}
}

// Next is the next message of the reply. more reports whether others follow. The map may
// change between calls.
func (a *Reply) Next() (message []byte, more bool, err error) {
	if a.request.Kind == wire.RequestGroups {
		message, more = a.nextBuckets()
		return message, more, nil
	}
	return a.nextLines()
}

// nextBuckets sends the buckets of groups that differ.
func (a *Reply) nextBuckets() (message []byte, more bool) {
	m := wire.Sync{Kind: wire.ReplyBuckets, ID: a.request.ID}
	r := a.replica
	if r.store.Len() == 0 { // all that the neighbour has, we do not have
		if a.theirs != [wire.Groups]uint64{} {
			r.neighbourHasMore(a.edge, a.now)
		}
		a.group = wire.Groups
	}
	ours := r.store.Groups()
	for ; a.group < wire.Groups; a.group++ {
		if ours[a.group] == a.theirs[a.group] {
			continue
		}
		if len(m.Body) > 0 && wire.SyncHeaderSize+len(m.Body)+wire.GroupSize > r.frameSize() {
			break
		}
		buckets := r.store.Group(byte(a.group))
		m.Body = wire.AppendGroup(m.Body, byte(a.group), &buckets)
	}
	m.Last = a.group == wire.Groups
	return m.Append(nil), !m.Last
}

// nextLines sends the lines that the neighbour does not have.
func (a *Reply) nextLines() (message []byte, more bool, err error) {
	room := max(a.replica.frameSize()-wire.SyncHeaderSize, 1)
	for a.looked = 0; len(a.buckets) > 0 && len(a.lines) < room && a.size < replySize && a.looked < compareAtOnce; {
		if err := a.answerBucket(); err != nil {
			return nil, false, err
		}
	}
	m := wire.Sync{Kind: wire.ReplyLines, ID: a.request.ID, Done: a.done}
	end := len(a.lines)
	if end > room { // as many whole lines as fit, at least one
		if end = bytes.LastIndexByte(a.lines[:room], '\n') + 1; end == 0 {
			end = bytes.IndexByte(a.lines, '\n') + 1
		}
	}
	m.Body, a.lines = a.lines[:end], a.lines[end:]
	for a.inLast = 0; end > 0; a.inLast++ {
		end -= a.pending[a.inLast].length
	}
	// A part without lines would be an offence, so the reply ends there. The neighbour requests the rest.
	m.Last = len(a.lines) == 0 && (len(a.buckets) == 0 || a.size >= replySize || len(m.Body) == 0)
	return m.Append(nil), !m.Last, nil
}

// Sent says that the message that Next returned last was sent. Its records need not be
// sent over the edge as well, unless they have changed meanwhile. Should the message be
// lost, the neighbour asks again.
func (a *Reply) Sent() {
	for _, p := range a.pending[:a.inLast] {
		if a.replica.store.Hash(p.id) == p.hash {
			a.replica.edges[a.edge].cancel(p.id)
		}
	}
	a.pending, a.inLast = a.pending[a.inLast:], 0
}

// answerBucket adds to lines the records of the next bucket that the neighbour does not
// have.
func (a *Reply) answerBucket() (err error) {
	r := a.replica
	var bucket uint16
	if bucket, a.have, a.buckets, err = wire.NextBucket(a.buckets, a.have[:0]); err != nil {
		return err
	}
	slices.Sort(a.have)
	before, shared := len(a.lines), 0
	d := r.edges[a.edge]
	floor := max(a.request.Floor, r.keep.floor)
	r.store.EachInBucket(bucket, func(id store.ID, hash uint64) {
		a.looked++
		if _, known := slices.BinarySearch(a.have, hash); known {
			shared++
			d.unsendable.remove(id)
			return
		}
		if r.isBelow(id, floor) {
			return
		}
		line := r.store.Line(id)
		switch {
		case len(line)+1 > r.maxMessage: // the bus takes no message of its size
			d.unsendable.add(id)
			return
		case wire.SyncHeaderSize+len(line)+1 > r.maxMessage: // it fits into a frame only
			d.enqueue(id)
			r.floodSeq++
			return
		}
		a.lines = append(append(a.lines, line...), '\n')
		a.pending = append(a.pending, answered{id, hash, len(line) + 1})
	})
	if a.request.Both && shared < len(a.have) {
		r.neighbourHasMore(a.edge, a.now)
	}
	a.size += len(a.lines) - before
	a.done++
	return nil
}
