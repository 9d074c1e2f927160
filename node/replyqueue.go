package node

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"time"

	"herd/node/wire"
)

const (
	// maxQueued is the number of bytes that may wait in a replyQueue before the session
	// stops to read. One write more may be there.
	maxQueued = fullReply
	// queuedCost is what a reply counts beside its text.
	queuedCost = 200
)

var (
	errClientGone     = errors.New("the client has reset the connection")
	errLookupPanicked = errors.New("a lookup of places panicked")
)

// replyQueue is the replies of a session that wait behind a lookup of places, in the
// order of their commands. A goroutine of its own makes the lookups, one at a time, and
// writes the replies, while the session reads and handles further commands. It ends when
// all has been written; then the session writes itself again.
type replyQueue struct {
	s       *session
	changed chan struct{} // tells the session that there is room, or that all is over; capacity 1

	mu       sync.Mutex // guards what follows; no other lock is taken while it is held
	waiting  []queuedReplies
	size     int       // of waiting
	lookup   *lookup   // in progress
	aborted  bool      // the client is gone
	over     bool      // the goroutine has ended, or does nothing more
	ended    time.Time // when that was
	err      error     // why not all was written
	panicked any       // what ended the goroutine
}

// queuedReplies is the reply to a lookup that is to be made, or replies that are complete.
type queuedReplies struct {
	lookup  *lookup // nil for none
	replies replyBatch
}

func (r queuedReplies) size() int {
	if r.lookup != nil {
		return 2*len(r.lookup.line) + queuedCost // it may hold the record, too, which is about as long
	}
	return len(r.replies.text) + queuedCost
}

// newReplyQueue makes the queue of a session that begins with a lookup in progress.
func newReplyQueue(s *session, first *lookup) *replyQueue {
	q := &replyQueue{s: s, changed: make(chan struct{}, 1), lookup: first}
	go q.run(first)
	return q
}

// run writes the replies: first that of a lookup in progress.
func (q *replyQueue) run(first *lookup) {
	var err error
	defer func() {
		if p := recover(); p != nil || err != nil {
			q.fail(err, p)
		}
	}()
	<-first.done
	var spare []byte // the buffer of the last reply
	r := queuedReplies{lookup: first}
	for more := true; more; r, more = q.next() {
		if l := r.lookup; l != nil {
			if l != first {
				l.reply.text = spare[:0]
				l.runInTurn()
			}
			if l.panicked != nil {
				panic(l.panicked)
			}
			r.replies = l.reply
		}
		if q.isAborted() {
			err = errClientGone
		} else {
			err = q.s.write(&r.replies)
		}
		spare = r.replies.text
		if err != nil {
			return
		}
	}
}

// next takes the next replies. Without any the queue is over.
func (q *replyQueue) next() (r queuedReplies, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.changed)
	q.lookup = nil
	if len(q.waiting) == 0 {
		q.over, q.ended = true, time.Now()
		return r, false
	}
	r = q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	q.size -= r.size()
	if q.lookup = r.lookup; q.lookup != nil {
		q.lookup.begin(time.Now())
	}
	return r, true
}

// fail drops what was not written, and makes the session end.
func (q *replyQueue) fail(err error, panicked any) {
	q.mu.Lock()
	q.waiting, q.size = nil, 0
	q.over, q.ended, q.err, q.panicked = true, time.Now(), err, panicked
	q.mu.Unlock()
	signal(q.changed)
	q.s.conn.SetReadDeadline(time.Now()) // the session looks at failed after it sets one
}

// abort cancels the lookup in progress and drops all replies: the client is gone.
func (q *replyQueue) abort() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.aborted, q.waiting, q.size = true, nil, 0
	if q.lookup != nil {
		q.lookup.cancel()
	}
}

func (q *replyQueue) isAborted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.aborted
}

// failed reports whether the session must end.
func (q *replyQueue) failed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.over && (q.err != nil || q.panicked != nil)
}

// busySince is when the queue was last busy: now, or when it ended. over says that it has
// ended and all has been written.
func (q *replyQueue) busySince(now time.Time) (last time.Time, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.over {
		return now, false
	}
	return q.ended, q.err == nil && q.panicked == nil
}

// addReplies queues a copy of replies. It reports false if all that was queued has been
// written: then the session writes the replies.
func (q *replyQueue) addReplies(b *replyBatch) (queued bool, err error) {
	return q.add(func() {
		if last := len(q.waiting) - 1; last >= 0 && q.waiting[last].lookup == nil { // they leave in one write
			r := &q.waiting[last].replies
			for _, end := range b.ends {
				r.ends = append(r.ends, len(r.text)+end)
			}
			r.text = append(r.text, b.text...)
			for to, n := range b.count {
				r.count[to] += n
			}
			q.size += len(b.text)
			return
		}
		copied := replyBatch{bytes.Clone(b.text), slices.Clone(b.ends), b.count, b.read}
		q.appendLocked(queuedReplies{replies: copied})
	})
}

// addLookup queues a lookup, which has not begun. It reports false if all that was queued
// has been written.
func (q *replyQueue) addLookup(l *lookup) (queued bool, err error) {
	return q.add(func() { q.appendLocked(queuedReplies{lookup: l}) })
}

// findRecords makes lookups that wait for the server to get ready find the records of the
// clients of reports. The reports are behind them, and will be merged next.
func (q *replyQueue) findRecords(reports []wire.Command) {
	q.mu.Lock()
	var lookups []*lookup
	if q.lookup != nil && q.lookup.early {
		lookups = append(lookups, q.lookup)
	}
	for _, r := range q.waiting {
		if r.lookup != nil && r.lookup.early {
			lookups = append(lookups, r.lookup)
		}
	}
	q.mu.Unlock()
	for _, l := range lookups {
		if slices.ContainsFunc(reports, func(c wire.Command) bool { return bytes.Equal(c.Client, l.command.Client) }) {
			l.find()
		}
	}
}

func (q *replyQueue) appendLocked(r queuedReplies) {
	q.waiting = append(q.waiting, r)
	q.size += r.size()
}

// add calls doLocked once there is room. Until then the session reads nothing.
func (q *replyQueue) add(doLocked func()) (queued bool, err error) {
	for {
		q.mu.Lock()
		switch {
		case q.aborted:
			err = errClientGone
		case q.over && q.panicked != nil:
			err = errLookupPanicked
		case q.over:
			err = q.err
		case q.size < maxQueued:
			doLocked()
			queued = true
		default:
			q.mu.Unlock()
			q.awaitChange()
			continue
		}
		q.mu.Unlock()
		return queued, err
	}
}

// drain returns when all has been written, or the client is gone. It returns what ended
// the goroutine if that was a panic.
func (q *replyQueue) drain() (panicked any) {
	for {
		q.mu.Lock()
		over, panicked := q.over, q.panicked
		q.mu.Unlock()
		if over {
			return panicked
		}
		q.awaitChange()
	}
}

// awaitChange waits until the queue has changed, or for resetPoll. It aborts the queue if
// the client has reset its connection, which a session that does not read does not see
// otherwise.
func (q *replyQueue) awaitChange() {
	timer := time.NewTimer(resetPoll)
	defer timer.Stop()
	select {
	case <-q.changed:
	case <-timer.C:
		if wasReset(q.s.conn) {
			q.abort()
		}
	}
}
