package node

import (
	"errors"
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

// receiveRequest replies to a neighbour's request, message by message: the lock is held
// no longer than it takes to make one.
func (n *Node) receiveRequest(e int, m bus.Message) {
	var reply *replica.Reply
	var err error
	n.locked(func() { reply, err = n.replica.HandleRequest(e, m.Data, time.Now()) })
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
