package node

import (
	"context"
	"maps"
	"slices"
	"time"

	"herd/bus"
	"herd/node/replica"
	"herd/node/wire"
)

// runHeartbeats sends a heartbeat on each edge every second, finds neighbours that are
// silent, and logs whether the server is ready, until ctx ends.
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
			signal(n.expiry)
			n.muteQuarantined(now)
			n.reportRepeated()
			n.requestSync()
			n.wakeWriters() // to retry what failed
			n.noteReadiness(now)
		case <-n.readinessChanged:
			n.noteReadiness(time.Now())
		}
	}
}

// muteQuarantined tells the bus which neighbours are in quarantine. It ends a little before
// the quarantine does, so that the subscriptions are there by then.
func (n *Node) muteQuarantined(now time.Time) {
	const ahead = 2 * replica.HeartbeatEvery
	var changed bool
	var peers []string
	n.locked(func() {
		peers = n.replica.Quarantined(now.Add(ahead))
		changed = !slices.Equal(peers, n.muted)
		n.muted = peers
	})
	if changed {
		n.cfg.Bus.Mute(peers)
	}
}

// sendHeartbeats sends a heartbeat to every neighbour, with the flags of with.
func (n *Node) sendHeartbeats(with wire.Heartbeat) {
	var edges int
	n.locked(func() { edges = n.replica.Edges() })
	for e := range edges {
		n.sendHeartbeat(e, with)
	}
}

// sendHeartbeat sends a heartbeat over edge e, with the flags of with, unless the edge was
// removed. While the bus is disconnected, none is needed.
func (n *Node) sendHeartbeat(e int, with wire.Heartbeat) {
	var b wire.Heartbeat
	var peer string
	var silent bool
	n.locked(func() {
		b, peer, silent = n.replica.Heartbeat(e, time.Now()), n.replica.Peer(e), n.silent && !with.Bye
	})
	if peer == "" || silent {
		return
	}
	b.Answer, b.Bye, b.Ready = with.Answer, with.Bye, n.ready.isOpen()
	n.putHeartbeat(peer, b)
}

func (n *Node) putHeartbeat(to string, b wire.Heartbeat) {
	if err := n.cfg.Bus.Send(bus.Message{Lane: bus.Heartbeat, Peer: to, Data: b.Append(nil)}); err != nil {
		n.log.Debug("heartbeat not sent", "edge", to, "err", err)
	}
}

const (
	maxStrangers  = 64 // that are answered
	strangerEvery = time.Second
)

// answerStranger tells a server that sent us a heartbeat that it is no neighbour of ours:
// once a second at most, and not if it says so itself or stops, or the two would answer
// each other without end.
func (n *Node) answerStranger(m bus.Message) {
	b, err := wire.ParseHeartbeat(m.Data)
	if err != nil || b.NoEdge || b.Bye || m.Peer == n.cfg.Name {
		return
	}
	var answer wire.Heartbeat
	var wanted bool
	n.locked(func() {
		now := time.Now()
		if wanted = n.bus == connected && !n.silent && n.noteStranger(m.Peer, now); wanted {
			answer = n.replica.NoEdgeHeartbeat(now)
		}
	})
	if wanted {
		answer.Ready = n.ready.isOpen()
		n.putHeartbeat(m.Peer, answer)
	}
}

// noteStranger reports whether a server that is no neighbour gets an answer now. The lock
// is held.
func (n *Node) noteStranger(peer string, now time.Time) bool {
	if n.strangers == nil {
		n.strangers = map[string]time.Time{}
	}
	if last, known := n.strangers[peer]; known && now.Sub(last) < strangerEvery {
		return false
	}
	if len(n.strangers) >= maxStrangers {
		maps.DeleteFunc(n.strangers, func(_ string, last time.Time) bool { return now.Sub(last) >= strangerEvery })
	}
	if len(n.strangers) >= maxStrangers {
		return false
	}
	n.strangers[peer] = now
	return true
}
