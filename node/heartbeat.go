package node

import (
	"context"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// runHeartbeats sends a heartbeat on each edge every second, and finds neighbours that
// are silent, until ctx ends.
func (n *Node) runHeartbeats(ctx context.Context) {
	tick := time.NewTicker(replica.HeartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			n.sendHeartbeats(wire.Heartbeat{})
			n.mu.Lock()
			n.replica.SetMaxMessage(n.cfg.Bus.MaxData()) // the broker may have changed it
			events := n.replica.Tick(now)
			n.mu.Unlock()
			n.emit(events)
			n.reportRepeated()
			n.requestSync()
			n.wakeWriters() // to retry what failed
		}
	}
}

// sendHeartbeats sends a heartbeat to every neighbour, with the flags of with.
func (n *Node) sendHeartbeats(with wire.Heartbeat) {
	for e := range n.cfg.Neighbours {
		n.sendHeartbeat(e, with)
	}
}

// sendHeartbeat sends a heartbeat over edge e, with the flags of with. While the bus is
// disconnected, none is needed.
func (n *Node) sendHeartbeat(e int, with wire.Heartbeat) {
	var b wire.Heartbeat
	var silent bool
	n.locked(func() {
		b, silent = n.replica.Heartbeat(e, time.Now()), n.silent && !with.Bye
	})
	if silent {
		return
	}
	b.Answer, b.Bye, b.Ready = with.Answer, with.Bye, n.ready.isOpen()
	peer := n.cfg.Neighbours[e]
	if err := n.cfg.Bus.Send(bus.Message{Lane: bus.Heartbeat, Peer: peer, Data: b.Append(nil)}); err != nil {
		n.log.Debug("heartbeat not sent", "edge", peer, "err", err)
	}
}
