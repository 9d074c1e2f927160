package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// requestSync begins the comparisons of maps that are due.
func (n *Node) requestSync() {
	for {
		var peer string
		var request []byte
		n.locked(func() { peer, request = n.nextRequest(time.Now()) })
		if request == nil {
			return
		}
		n.sendSync(bus.SyncRequest, peer, request)
	}
}

// nextRequest is the first request of a comparison that is due, and to whom; nil for none.
// The lock is held.
func (n *Node) nextRequest(now time.Time) (peer string, request []byte) {
	if n.silent || n.bus != connected {
		return "", nil
	}
	e, request, ok := n.replica.NextRequest(now)
	if !ok {
		return "", nil
	}
	return n.replica.Peer(e), request
}

// sendSync sends a message of repair. Should it be lost, the comparison is tried again.
func (n *Node) sendSync(lane bus.Lane, peer string, message []byte) error {
	err := n.cfg.Bus.Send(bus.Message{Lane: lane, Peer: peer, Data: message})
	if errors.Is(err, bus.ErrTooLarge) { // the broker takes less than it did
		n.locked(func() { n.replica.SetMaxMessage(n.cfg.Bus.MaxData()) })
	}
	if err != nil {
		n.log.Debug("repair: message not sent", "edge", peer, "lane", lane, "err", err)
	}
	return err
}

// maxWaiting of one neighbour wait for a reply. A neighbour sends the next request once it
// has the reply, or has given up.
const maxWaiting = 8

// requests are the neighbours' requests that wait for a reply: of each neighbour the newest
// maxWaiting.
type requests struct {
	wake chan struct{} // capacity 1

	mu      sync.Mutex // guards what follows; no other lock is taken while it is held
	waiting []request  // in the order of their arrival
	last    int        // the edge of the request that next returned last
}

type request struct {
	edge    int
	message bus.Message
}

func newRequests() requests { return requests{wake: make(chan struct{}, 1)} }

// put adds the request that came over edge e.
func (q *requests) put(n *Node, e int, m bus.Message) (events []replica.Event) {
	if q.add(request{e, m}) {
		n.locked(func() { events = n.replica.RequestDropped(e, time.Now()) })
	}
	signal(q.wake)
	return events
}

// add adds a request and reports whether the oldest one of the same edge was dropped for it.
func (q *requests) add(r request) (dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ofEdge := func(other request) bool { return other.edge == r.edge }
	waiting := 0
	for _, other := range q.waiting {
		if ofEdge(other) {
			waiting++
		}
	}
	if dropped = waiting >= maxWaiting; dropped {
		oldest := slices.IndexFunc(q.waiting, ofEdge)
		q.waiting = slices.Delete(q.waiting, oldest, oldest+1)
	}
	q.waiting = append(q.waiting, r)
	return dropped
}

// next removes the request that has waited for longest, of another edge than the last one if
// there is one: neighbours take turns.
func (q *requests) next() (r request, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return request{}, false
	}
	i := max(0, slices.IndexFunc(q.waiting, func(r request) bool { return r.edge != q.last }))
	r = q.waiting[i]
	q.waiting, q.last = slices.Delete(q.waiting, i, i+1), r.edge
	return r, true
}

// runReplies replies to the neighbours' requests, one at a time, until ctx ends. The bus's
// reader does not wait for that.
func (n *Node) runReplies(ctx context.Context) {
	for {
		for r, ok := n.requests.next(); ok && ctx.Err() == nil; r, ok = n.requests.next() {
			n.replyTo(r)
		}
		select {
		case <-ctx.Done():
			return
		case <-n.requests.wake:
		}
	}
}

// replyTo replies to a neighbour's request, message by message: the lock is held no longer
// than it takes to make one. A panic drops the request.
func (n *Node) replyTo(r request) {
	e, m := r.edge, r.message
	defer func() {
		if p := recover(); p != nil {
			n.noteMessagePanic(m, p)
		}
	}()
	var reply *replica.Reply
	var events []replica.Event
	var err error
	n.locked(func() { reply, events, err = n.replica.HandleRequest(e, m.Data, time.Now()) })
	n.emit(events)
	for more := true; more && err == nil; {
		var message []byte
		n.locked(func() { message, more, err = reply.Next() })
		if err != nil || n.sendSync(bus.SyncReply, m.Peer, message) != nil {
			break
		}
		n.locked(reply.Sent)
	}
	if err != nil {
		n.log.Debug("repair: request not answered", "edge", m.Peer, "err", err)
	}
	signal(n.flood.wake) // a record may fit into a frame and not into a reply
	n.requestSync()      // the request may have shown that the neighbour has more than we
}

// receiveReply merges a part of a reply, and sends the next request.
func (n *Node) receiveReply(e int, m bus.Message) {
	result, merged, err := n.mergeReply(e, m)
	n.traceMerged(merged, "record in by repair", "edge", m.Peer)
	n.wakeWriters()
	if result.Request != nil {
		n.sendSync(bus.SyncRequest, m.Peer, result.Request)
	}
	if result.Ended {
		n.sendHeartbeat(e, wire.Heartbeat{}) // the neighbour may wait for us to be in step
	}
	if err != nil {
		n.log.Debug("repair: malformed reply", "edge", m.Peer, "err", err)
	}
	n.emit(result.Events)
	n.requestSync()
}

func (n *Node) mergeReply(e int, m bus.Message) (result replica.ReplyResult, merged []mergedRecord, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	result, err = n.replica.HandleReply(e, m.Data, now)
	n.noteUnsaved(now)
	return result, n.takeMerged(), err
}
