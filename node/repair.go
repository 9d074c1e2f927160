package node

import (
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// repair asks the first question of a comparison of maps, if one is due.
func (n *Node) repair() {
	n.mu.Lock()
	if n.goodbye || n.bus != present {
		n.mu.Unlock()
		return
	}
	e, question, ok := n.replica.Repair(time.Now())
	n.mu.Unlock()
	if ok {
		n.ask(e, question)
	}
}

// ask sends a question. One that is lost is asked again, by and by.
func (n *Node) ask(e int, question []byte) {
	peer := n.cfg.Neighbours[e]
	if err := n.cfg.Bus.Send(bus.Message{Lane: bus.SyncRequest, Peer: peer, Data: question}); err != nil {
		n.log.Debug("repair: question", "edge", peer, "err", err)
	}
}

// answer answers a neighbour's question, message by message: the lock is not held
// for longer than one of them takes.
func (n *Node) answer(e int, m bus.Message) {
	n.mu.Lock()
	a, err := n.replica.Question(e, m.Data, time.Now())
	n.mu.Unlock()
	for more := err == nil; more; {
		var message []byte
		n.mu.Lock()
		message, more, err = a.Next()
		n.mu.Unlock()
		if err == nil {
			err = n.cfg.Bus.Send(bus.Message{Lane: bus.SyncReply, Peer: m.Peer, Data: message})
		}
		more = more && err == nil
	}
	if err != nil {
		n.log.Debug("repair: answer", "edge", m.Peer, "err", err)
	}
}

// receiveAnswer takes in a part of an answer, and asks on.
func (n *Node) receiveAnswer(e int, m bus.Message) {
	n.mu.Lock()
	question, ended, events, err := n.replica.Told(e, m.Data, time.Now())
	followed := n.takeFollowed()
	n.mu.Unlock()
	n.traceIn(followed, "record in by repair", "edge", m.Peer)
	n.spread() // what was news, over the other edges
	if question != nil {
		n.ask(e, question)
	}
	if ended {
		n.beat(e, wire.Beat{})
	}
	if err != nil {
		n.tell([]replica.Event{{Kind: replica.Mismatch, Peer: m.Peer, Text: "repair: " + err.Error()}})
	}
	n.tell(events)
}
