package node

import (
	"fmt"
	"runtime/debug"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// Receive handles a message from a neighbour: bus.Handler. Of other servers only
// heartbeats count: they are answered.
func (n *Node) Receive(m bus.Message) {
	e, ok := n.edgeTo(m.Peer)
	switch {
	case ok:
		n.receive(e, m)
	case m.Lane == bus.Heartbeat:
		n.answerStranger(m)
	}
}

// receive handles a message that came over edge e. A panic drops the message.
func (n *Node) receive(e int, m bus.Message) {
	defer func() {
		if p := recover(); p != nil {
			n.noteMessagePanic(m, p)
		}
	}()
	switch m.Lane {
	case bus.Records:
		n.receiveRecords(e, m)
	case bus.Heartbeat:
		n.receiveHeartbeat(e, m)
	case bus.SyncRequest:
		n.emit(n.requests.put(n, e, m))
	case bus.SyncReply:
		n.receiveReply(e, m)
	}
}

// noteMessagePanic counts and logs a panic in the handling of a message.
func (n *Node) noteMessagePanic(m bus.Message, panicked any) {
	n.panics.Add(1)
	n.locked(func() { n.merged = nil })
	n.log.Error("panic in a message: it is dropped", "edge", m.Peer, "lane", m.Lane, "panic", panicked, "input", string(m.Data), "stack", string(debug.Stack()))
}

// edgeTo is the edge to a neighbour. It may be removed as soon as the lock is free: then
// what is done with it has no effect on others.
func (n *Node) edgeTo(peer string) (e int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.EdgeTo(peer)
}

// receiveRecords merges records. What was news is forwarded by BatchEnd.
func (n *Node) receiveRecords(e int, m bus.Message) {
	n.logRecords("edge in", m)
	got := n.mergeFrame(e, m)
	n.traceMerged(got.merged, "record in", "edge", m.Peer, "number", m.Seq)
	if got.wakeJournal {
		signal(n.journal.wake)
	}
	if got.result.Malformed > 0 {
		n.noteMalformed(m.Peer, got.result.Malformed, got.result.LastMalformed)
	}
	n.emit(got.events)
	if got.request != nil {
		n.sendSync(bus.SyncRequest, got.requestTo, got.request)
	}
}

// mergedFrame is what follows from a frame.
type mergedFrame struct {
	result      replica.FrameResult
	events      []replica.Event
	merged      []mergedRecord
	wakeJournal bool
	requestTo   string
	request     []byte // of a comparison that became due
}

func (n *Node) mergeFrame(e int, m bus.Message) (got mergedFrame) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	got.result, got.events = n.replica.Frame(e, wire.Mark{Epoch: m.Epoch, Seq: m.Seq}, m.Data, now)
	got.merged = n.takeMerged()
	got.wakeJournal = n.journal != nil && got.result.News > 0 && !n.lingering
	n.startForwardTimer()
	n.noteUnsaved(now)
	got.requestTo, got.request = n.nextRequest(now)
	return got
}

func (n *Node) receiveHeartbeat(e int, m bus.Message) {
	b, err := wire.ParseHeartbeat(m.Data)
	if err != nil {
		n.receiveMalformed(e, m, err)
		return
	}
	var events []replica.Event
	var reply bool
	n.locked(func() {
		if n.bus == connected { // else it was read before the connection was lost
			events, reply = n.replica.HandleHeartbeat(e, b, time.Now())
		}
	})
	if reply {
		n.sendHeartbeat(e, wire.Heartbeat{})
	}
	if len(events) > 0 {
		n.wakeWriters() // for the backlog of a neighbour that came up
		n.emit(events)
	}
	n.requestSync()
}

// receiveMalformed handles a heartbeat that cannot be parsed.
func (n *Node) receiveMalformed(e int, m bus.Message, err error) {
	var events []replica.Event
	n.locked(func() { events = n.replica.Malformed(e, err.Error(), time.Now()) })
	n.noteMalformed(m.Peer, 1, m.Data)
	n.emit(events)
}

// wakeWriters makes the flood and the journal look for work.
func (n *Node) wakeWriters() {
	signal(n.flood.wake)
	if n.journal != nil {
		signal(n.journal.wake)
	}
}

// Connected handles a change of the connection to the bus: bus.Handler.
func (n *Node) Connected(up bool) {
	n.mu.Lock()
	first := up && n.bus == neverConnected
	if !up {
		n.bus = disconnected
		events := n.replica.Disconnected()
		n.replica.EndStreams() // their frames may be lost
		n.mu.Unlock()
		n.emit(events)
		signal(n.readinessChanged)
		return
	}
	n.bus = connected
	n.replica.SetMaxMessage(n.cfg.Bus.MaxData())
	n.mu.Unlock()
	n.sendHeartbeats(wire.Heartbeat{Answer: true})
	if first {
		n.emit([]replica.Event{{Kind: kindStart, Text: fmt.Sprintf("started, epoch %d", n.cfg.Epoch)}})
		n.publishDamage()
		n.connected.open()
	}
	signal(n.readinessChanged)
	n.wakeWriters()
}

// AsyncError handles an error of the bus that belongs to no call: bus.Handler.
func (n *Node) AsyncError(peer string, err error) {
	switch kind := kindOf(err); kind {
	case "":
		n.log.Warn("NATS error", "edge", peer, "err", err)
	case replica.Gap:
		if e, ok := n.edgeTo(peer); ok {
			n.locked(func() { n.replica.Lost(e, time.Now()) })
			n.requestSync()
		}
		fallthrough
	default:
		n.emit([]replica.Event{{Kind: kind, Peer: peer, Text: err.Error()}})
	}
}
