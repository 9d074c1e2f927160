package replica

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"herd/bus/plural"
	"herd/node/store"
	"herd/node/wire"
)

// A comparison first sends the digests of our groups, and receives those of the buckets
// in groups that differ. Then it requests the lines of the buckets that differ, a part at
// a time: the next request follows when the reply to the last one is merged, so no more
// than replySize is in flight on an edge.
//
// Comparisons with several neighbours run at the same time, so that none waits for a
// neighbour that is slow or never ends its replies. Each begins with other buckets: what
// one has brought by the time the next one requests the same bucket is not sent again.

const (
	// messageSize is the size at which a message of records or digests is full.
	messageSize = 32 << 10
	// requestBuckets and requestSize bound a request for lines.
	requestBuckets = 8192
	requestSize    = 64 << 10
)

// A comparison is given up, to be tried again later, if nothing new has moved for
// comparisonSilence, if it takes longer than comparisonTime, or if the neighbour sends more than
// our map can differ by (allowance). One that moved less than minUsefulRate was of no use.
const (
	comparisonSilence = 2 * time.Second
	comparisonTime    = time.Minute
	minUsefulRate     = 1 << 10 // bytes of news per second
)

// While a neighbour's messages are lost all the time, comparisons are due all the time. On
// each edge paceBurst of them begin at once, and then one every paceEvery: fewer than a
// neighbour takes for an attack (comparisonEvery).
const (
	paceBurst = 20
	paceEvery = time.Second / 2
)

// comparison is a comparison that runs.
type comparison struct {
	id     uint64
	reason string
	began  time.Time
	moved  time.Time // when the neighbour last sent anything new
	lossy  bool      // messages of the edge were lost since it began

	groups    int       // those before this one have been received
	compared  bool      // all have
	differing bucketSet // to be requested
	first     uint16    // the bucket with which requests begin
	next      int       // how many buckets after it the next request begins
	requested []uint16  // of the request in flight, in its order

	lines, news      int
	bytes, newsBytes int // of replies, and of the lines that were news
	known            int // bytes of lines that were not
	refused          int // bytes of lines that our map has no room for
}

// bucketSet is a set of buckets.
type bucketSet [wire.Buckets / 64]uint64

func (s *bucketSet) add(bucket uint16)      { s[bucket/64] |= 1 << (bucket % 64) }
func (s *bucketSet) remove(bucket uint16)   { s[bucket/64] &^= 1 << (bucket % 64) }
func (s *bucketSet) has(bucket uint16) bool { return s[bucket/64]&(1<<(bucket%64)) != 0 }

// NextRequest begins a comparison if one is due. It returns the request to send over edge
// e. Others may be due as well: call it until ok is false.
func (r *Replica) NextRequest(now time.Time) (e int, request []byte, ok bool) {
	for e, d := range r.edges {
		if c := d.comparison; c != nil && (now.Sub(c.moved) >= comparisonSilence || now.Sub(c.began) >= comparisonTime) {
			r.abandon(e, now)
		}
	}
	for e = r.dueEdge(now); e >= 0 && !r.edges[e].pace.take(now, 1, paceBurst, paceEvery); e = r.dueEdge(now) {
		r.edges[e].sync.due = now.Add(paceEvery)
	}
	if e < 0 {
		return 0, nil, false
	}
	d := r.edges[e]
	r.comparisons++
	d.comparison = &comparison{
		id: r.comparisons, reason: d.sync.reason, began: now, moved: now, first: uint16(e * wire.Buckets / len(r.edges)),
	}
	d.sync.due = time.Time{}
	groups := r.store.Groups()
	body := wire.AppendDigests(nil, &groups)
	return e, wire.Sync{Kind: wire.RequestGroups, ID: d.comparison.id, Last: true, Floor: r.keep.floor, Body: body}.Append(nil), true
}

// abandon gives up the comparison on edge e, to be tried again: soon if it brought
// anything, and else after a time that doubles up to Config.Repair.
func (r *Replica) abandon(e int, now time.Time) {
	d := r.edges[e]
	c, s := d.comparison, &d.sync
	d.comparison = nil
	d.counts.Abandoned++
	if c.useful(now) {
		s.backoff, s.fruitless = firstBackoff, 0
	} else {
		r.backOff(s)
		if now.Sub(r.resumed) >= DownAfter { // else it may have been we who did not run
			s.fruitless++
		}
	}
	s.schedule(r.soonest(now).Add(s.backoff), c.reason)
}

// useful reports whether the comparison has brought something for the time that it took.
func (c *comparison) useful(now time.Time) bool {
	return float64(c.newsBytes) > minUsefulRate*now.Sub(c.began).Seconds()
}

// ReplyResult is what follows from a reply.
type ReplyResult struct {
	Request []byte // to send next, over the same edge; nil for none
	// Ended says that the comparison has ended. The neighbour should get a heartbeat: it
	// may wait for us to be in step.
	Ended  bool
	Events []Event
}

// HandleReply handles a reply that arrived over edge e. After an error, which is reported
// by an event too, the comparison is given up, to be tried again.
func (r *Replica) HandleReply(e int, reply []byte, now time.Time) (ReplyResult, error) {
	result, err := r.handleReply(e, reply, now)
	d := r.edges[e]
	if err != nil {
		result.Events = append(result.Events, Event{Kind: Mismatch, Peer: d.peer, Text: "repair: malformed reply: " + err.Error()})
	}
	result.Events = append(d.limited(result.Events, now), r.judgeError(e, err, now)...)
	return result, err
}

func (r *Replica) handleReply(e int, reply []byte, now time.Time) (ReplyResult, error) {
	d := r.edges[e]
	if d.quarantined(now) {
		return ReplyResult{}, nil
	}
	r.noteReading(now)
	m, err := wire.ParseSync(reply)
	if err != nil {
		return ReplyResult{}, offending{err}
	}
	c := d.comparison
	if c == nil || c.id != m.ID {
		// A reply to a comparison that was given up. Its lines count all the same, for
		// its sender no longer keeps them for us. They are forwarded to everybody: a
		// neighbour whose comparison with us runs may have asked before they arrived.
		if m.Kind == wire.ReplyLines {
			_, err = r.mergeReply(e, m.Body, direct)
		}
		return ReplyResult{}, err
	}
	c.bytes += len(reply)
	d.counts.RepairBytes += uint64(len(reply))
	switch {
	case len(m.Body) == 0 && !m.Last:
		err = offending{errors.New("a part of a reply is empty")}
	case m.Kind == wire.ReplyBuckets && !c.compared:
		err = r.handleBuckets(c, m, now)
	case m.Kind == wire.ReplyLines && c.compared:
		err = r.handleLines(e, c, m, now)
	default:
		err = fmt.Errorf("message of kind %q is not the reply to our request", m.Kind)
	}
	if err != nil {
		r.abandon(e, now)
		return ReplyResult{}, err
	}
	if !m.Last {
		return ReplyResult{}, nil
	}
	if request := r.requestLines(e, c); request != nil {
		return ReplyResult{Request: request}, nil
	}
	return ReplyResult{Ended: true, Events: r.finish(e, now)}, nil
}

// handleBuckets notes which buckets differ. Groups arrive in ascending order, so a reply
// cannot be longer than all of them.
func (r *Replica) handleBuckets(c *comparison, m wire.Sync, now time.Time) error {
	descending := false
	err := wire.EachGroup(m.Body, func(group byte, theirs *[wire.Groups]uint64) {
		descending = descending || int(group) < c.groups
		c.groups = int(group) + 1
		ours := r.store.Group(group)
		for i := range theirs {
			if theirs[i] != ours[i] {
				c.differing.add(uint16(group)<<8 | uint16(i))
			}
		}
	})
	if err == nil && descending {
		err = errors.New("the groups of a reply are not in ascending order")
	}
	if err != nil {
		err = offending{err}
	}
	c.moved, c.compared = now, m.Last
	return err
}

// handleLines merges lines that we do not have.
func (r *Replica) handleLines(e int, c *comparison, m wire.Sync, now time.Time) error {
	got, err := r.mergeReply(e, m.Body, repaired)
	lines := bytes.Count(m.Body, []byte("\n"))
	c.news, c.lines, c.newsBytes = c.news+got.news, c.lines+lines, c.newsBytes+got.newsBytes
	c.known += len(m.Body) - got.newsBytes - got.refusedBytes - got.oldBytes
	if c.refused += got.refusedBytes; c.refused > replySize && c.news == 0 { // our map is full: more would be refused, too
		c.differing, c.next = bucketSet{}, wire.Buckets
	}
	counts := &r.edges[e].counts
	counts.RepairNews += uint64(got.news)
	counts.RepairLines += uint64(lines)
	counts.NoRoom += uint64(got.refused)
	if got.news > 0 || m.Last {
		c.moved = now
	}
	if m.Last {
		requested := len(c.requested)
		done := min(int(m.Done), requested)
		for _, bucket := range c.requested[done:] { // not answered: to be requested again
			c.differing.add(bucket)
			c.next = min(c.next, int(bucket-c.first))
		}
		c.requested = c.requested[:0]
		if done == 0 || int64(m.Done) > int64(done) {
			err = offending{fmt.Errorf("a reply of lines covers %d buckets of %d that were requested", m.Done, requested)}
		}
	}
	if int64(c.known) > r.allowance() {
		err = offending{errors.New("the reply has more lines that we have already than a map can hold")}
	}
	return err
}

// allowance bounds the bytes of a comparison that are no news to us: records that we hold,
// each once, or that older ones of the neighbour stand for.
func (r *Replica) allowance() int64 { return 2*r.store.Size() + 4*replySize }

// willRequest reports whether a comparison has yet to request a bucket whose record has
// just changed: then it tells the neighbour of the change.
func (c *comparison) willRequest(bucket uint16) bool {
	if !c.compared { // the neighbour may have looked at the bucket before it changed
		c.differing.add(bucket)
	}
	return c.differing.has(bucket)
}

// repairResult counts the lines of a reply that were news, and those that the map has no
// room for.
type repairResult struct {
	news, newsBytes       int
	refused, refusedBytes int
	oldBytes              int // of lines below our floor. An earlier version of a neighbour sends them
}

// mergeReply merges the lines of a reply.
func (r *Replica) mergeReply(e int, lines []byte, how source) (got repairResult, err error) {
	old := r.store.TooOld()
	defer func() { got.oldBytes = int(r.store.TooOld() - old) }()
	r.store.MergeLines(lines, func(line []byte, id store.ID, outcome store.Outcome, malformed error) {
		if malformed != nil {
			err = offending{malformed}
			return
		}
		r.merged(id, line, outcome, e, how)
		switch outcome {
		case store.News:
			got.news++
			got.newsBytes += len(line) + 1
		case store.Refused:
			got.refused++
			got.refusedBytes += len(line) + 1
		}
	})
	return got, err
}

// requestLines is the request for the lines of the next buckets that differ; nil if none
// is left.
func (r *Replica) requestLines(e int, c *comparison) []byte {
	var body []byte
	var hashes []uint64
	theirFloor := r.theirFloor(r.edges[e])
	looked := 0
	for ; c.next < wire.Buckets && len(c.requested) < requestBuckets && looked < compareAtOnce; c.next++ {
		bucket := c.first + uint16(c.next)
		switch {
		case c.differing.has(bucket):
		case bucket%64 == 0 && c.differing[bucket/64] == 0:
			c.next += 63 // none of this word
			continue
		default:
			continue
		}
		hashes = hashes[:0]
		r.store.EachInBucket(bucket, func(id store.ID, hash uint64) {
			looked++
			if theirFloor == 0 || !r.isBelow(id, theirFloor) {
				hashes = append(hashes, hash)
			}
		})
		most := min(requestSize, r.frameSize()/2)
		if 8*len(hashes) > most { // somebody crafted clients that share a bucket: ask for all of it
			hashes = nil
		}
		if len(body) > 0 && len(body)+8*len(hashes) > most {
			break
		}
		body = wire.AppendBucket(body, bucket, hashes)
		c.requested = append(c.requested, bucket)
		c.differing.remove(bucket)
	}
	if len(c.requested) == 0 {
		return nil
	}
	// In the first comparison each side must learn what the other has, so the neighbour is
	// told to ask back. Later, most differences are records that the flood is delivering:
	// two servers that always asked back would never stop.
	askBack := !r.edges[e].sync.synced
	return wire.Sync{Kind: wire.RequestLines, ID: c.id, Last: true, Both: askBack, Floor: r.keep.floor, Body: body}.Append(nil)
}

// finish ends a comparison: we are in step.
func (r *Replica) finish(e int, now time.Time) []Event {
	d := r.edges[e]
	c, s := d.comparison, &d.sync
	d.comparison = nil
	d.counts.Repairs++
	s.fruitless = 0
	if !c.lossy {
		s.inStep, s.synced = true, true
		if !r.full {
			d.in.repaired() // all messages seen so far arrived before this reply
		}
	}
	if r.store.Digest() == d.heartbeat.Digest {
		s.equal = true
	}
	s.latest = r.nextScheduled(now)
	if c.news > 0 {
		s.backoff = 0
	} else {
		r.backOff(s)
	}
	if c.lines == 0 && c.reason != messagesLost { // after a loss, operators want to know that it cost nothing
		return nil
	}
	return []Event{{Kind: Repair, Peer: d.peer, Text: fmt.Sprintf("compared with %s because %s: received %s, %d of them news; %s in %v",
		d.peer, c.reason, plural.Count(c.lines, "line"), c.news, plural.Count(c.bytes, "byte"), now.Sub(c.began).Round(time.Millisecond))}}
}
