package replica

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// A comparison first sends the digests of our groups, and receives those of the buckets
// in groups that differ. Then it requests the lines of the buckets that differ, a part at
// a time: the next request follows when the reply to the last one is merged, so no more
// than replySize is ever in flight.

const (
	// messageSize is the size at which a message of records or digests is full.
	messageSize = 32 << 10
	// requestBuckets and requestSize bound a request for lines.
	requestBuckets = 8192
	requestSize    = 64 << 10
)

// comparison is the comparison that runs.
type comparison struct {
	edge      int
	id        uint64
	reason    string
	began     time.Time
	heard     time.Time // when the last reply arrived
	lossy     bool      // messages of the edge were lost since it began
	differing []uint16  // buckets yet to be asked for

	lines, news, bytes int
}

// NextRequest begins a comparison if one is due and none runs. It returns the request to
// send over edge e.
func (r *Replica) NextRequest(now time.Time) (e int, request []byte, ok bool) {
	if c := r.comparison; c != nil {
		if now.Sub(c.heard) < silence {
			return 0, nil, false
		}
		r.abandon()
		r.edges[c.edge].sync.schedule(now.Add(firstBackoff), c.reason)
	}
	if e = r.dueEdge(now); e < 0 {
		return 0, nil, false
	}
	s := &r.edges[e].sync
	r.comparisons++
	r.comparison = &comparison{edge: e, id: r.comparisons, reason: s.reason, began: now, heard: now}
	s.due = time.Time{}
	groups := r.store.Groups()
	body := wire.AppendDigests(nil, &groups)
	return e, wire.Sync{Kind: wire.RequestGroups, ID: r.comparison.id, Last: true, Body: body}.Append(nil), true
}

// abandon gives up the comparison that runs.
func (r *Replica) abandon() {
	r.edges[r.comparison.edge].counts.Abandoned++
	r.comparison = nil
}

// ReplyResult is what follows from a reply.
type ReplyResult struct {
	Request []byte // to send next, over the same edge; nil for none
	// Ended says that the comparison has ended. The neighbour should get a heartbeat: it
	// may wait for us to be in step.
	Ended  bool
	Events []Event
}

// HandleReply handles a reply that arrived over edge e. After an error the comparison is
// given up, to be tried again.
func (r *Replica) HandleReply(e int, reply []byte, now time.Time) (ReplyResult, error) {
	m, err := wire.ParseSync(reply)
	if err != nil {
		return ReplyResult{}, err
	}
	c := r.comparison
	if c == nil || c.edge != e || c.id != m.ID {
		// A reply to a comparison that was given up. Its lines count all the same, for
		// its sender no longer keeps them for us. They are forwarded to everybody: a
		// neighbour whose comparison with us runs may have asked before they arrived.
		if m.Kind == wire.ReplyLines {
			_, err = r.mergeReply(e, m.Body, direct)
		}
		return ReplyResult{}, err
	}
	c.heard = now
	c.bytes += len(reply)
	r.edges[e].counts.RepairBytes += uint64(len(reply))
	switch m.Kind {
	case wire.ReplyBuckets:
		err = r.handleBuckets(c, m)
	case wire.ReplyLines:
		err = r.handleLines(c, m)
	default:
		err = fmt.Errorf("message of kind %q is not a reply", m.Kind)
	}
	switch {
	case err != nil:
		r.abandon()
		r.edges[e].sync.schedule(now.Add(firstBackoff), c.reason)
		return ReplyResult{}, err
	case !m.Last:
		return ReplyResult{}, nil
	case len(c.differing) > 0:
		return ReplyResult{Request: r.requestLines(c)}, nil
	}
	return ReplyResult{Ended: true, Events: r.finish(c, now)}, nil
}

// handleBuckets notes which buckets differ.
func (r *Replica) handleBuckets(c *comparison, m wire.Sync) error {
	err := wire.EachGroup(m.Body, func(group byte, theirs *[wire.Groups]uint64) {
		ours := r.store.Group(group)
		for i := range theirs {
			if theirs[i] != ours[i] {
				c.differing = append(c.differing, uint16(group)<<8|uint16(i))
			}
		}
	})
	if err == nil && len(c.differing) > wire.Buckets {
		err = errors.New("more buckets differ than there are")
	}
	return err
}

// handleLines merges lines that we do not have.
func (r *Replica) handleLines(c *comparison, m wire.Sync) error {
	news, err := r.mergeReply(c.edge, m.Body, repaired)
	lines := bytes.Count(m.Body, []byte("\n"))
	c.news, c.lines = c.news+news, c.lines+lines
	counts := &r.edges[c.edge].counts
	counts.RepairNews += uint64(news)
	counts.RepairLines += uint64(lines)
	if m.Last {
		c.differing = c.differing[min(int(m.Done), len(c.differing)):]
		if m.Done == 0 {
			err = errors.New("a reply of lines covers no bucket")
		}
	}
	return err
}

// mergeReply merges the lines of a reply and returns how many were news.
func (r *Replica) mergeReply(e int, lines []byte, how source) (news int, err error) {
	r.store.MergeLines(lines, func(line []byte, id store.ID, outcome store.Outcome, malformed error) {
		if malformed != nil {
			err = malformed
			return
		}
		r.merged(id, line, outcome, e, how)
		if outcome == store.News {
			news++
		}
	})
	return news, err
}

// requestLines is the request for the lines of the next buckets that differ.
func (r *Replica) requestLines(c *comparison) []byte {
	var body []byte
	var hashes []uint64
	for _, bucket := range c.differing[:min(len(c.differing), requestBuckets)] {
		hashes = hashes[:0]
		r.store.EachInBucket(bucket, func(_ store.ID, hash uint64) { hashes = append(hashes, hash) })
		most := min(requestSize, r.frameSize()/2)
		if 8*len(hashes) > most { // somebody crafted clients that share a bucket: ask for all of it
			hashes = nil
		}
		if len(body) > 0 && len(body)+8*len(hashes) > most {
			break
		}
		body = wire.AppendBucket(body, bucket, hashes)
	}
	// In the first comparison each side must learn what the other has, so the neighbour is
	// told to ask back. Later, most differences are records that the flood is delivering:
	// two servers that always asked back would never stop.
	askBack := !r.edges[c.edge].sync.synced
	return wire.Sync{Kind: wire.RequestLines, ID: c.id, Last: true, Both: askBack, Body: body}.Append(nil)
}

// finish ends a comparison: we are in step.
func (r *Replica) finish(c *comparison, now time.Time) []Event {
	r.comparison = nil
	d := r.edges[c.edge]
	d.counts.Repairs++
	s := &d.sync
	if !c.lossy {
		s.inStep, s.synced = true, true
		d.in.repaired() // all messages seen so far arrived before this reply
	}
	if r.store.Digest() == d.heartbeat.Digest {
		s.equal = true
	}
	s.latest = r.nextScheduled(now)
	if c.news > 0 || c.reason != digestsDiffer {
		s.backoff = 0
	} else {
		s.backoff = min(max(2*s.backoff, firstBackoff), r.cfg.Repair)
	}
	if c.lines == 0 && c.reason != messagesLost { // after a loss, operators want to know that it cost nothing
		return nil
	}
	return []Event{{Repair, d.peer, fmt.Sprintf("compared with %s because %s: received %d lines, %d of them news; %d bytes in %v",
		d.peer, c.reason, c.lines, c.news, c.bytes, now.Sub(c.began).Round(time.Millisecond))}}
}
