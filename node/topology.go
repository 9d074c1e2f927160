package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"herd/node/replica"
	"herd/node/wire"
)

// NewEdgeTimeout is how long edges that are given up stay while new ones get in step: until
// then they may be the only path.
const NewEdgeTimeout = 10 * time.Second

// SetTopology changes the edges of a running server, and returns what it changed, a line
// each; nothing if the topology is the one that it has. Clients stay connected. If edges are
// added and others removed, it first adds, waits until the new edges are in step, for 10 s at
// most or until ctx ends, and then removes. It may be called concurrently.
func (n *Node) SetTopology(ctx context.Context, t replica.Topology) (changes []string) {
	n.topologyChange.Lock()
	defer n.topologyChange.Unlock()
	before := n.topology()
	added, removed := missingFrom(before.Neighbours, t.Neighbours), missingFrom(t.Neighbours, before.Neighbours)
	if len(added)+len(removed) == 0 && before.Hash == t.Hash {
		return nil
	}
	if len(added) > 0 {
		changes = append(changes, fmt.Sprintf("%s: new neighbours: %s", n.cfg.Name, strings.Join(added, ", ")))
		both := t
		both.Neighbours = slices.Concat(t.Neighbours, removed)
		n.setEdges(both)
	}
	if len(removed) > 0 {
		changes = append(changes, fmt.Sprintf("%s: no longer neighbours: %s", n.cfg.Name, strings.Join(removed, ", ")))
		if len(added) > 0 {
			n.awaitEdges(ctx, added)
		}
	}
	if len(changes) == 0 {
		changes = append(changes, n.cfg.Name+": the same neighbours, other edges elsewhere")
	}
	n.setEdges(t)
	for _, peer := range removed { // so that they need not wait for our silence
		var b wire.Heartbeat
		n.locked(func() { b = n.replica.NoEdgeHeartbeat(time.Now()) })
		n.putHeartbeat(peer, b)
	}
	n.log.Info("topology changed", "neighbours", t.Neighbours, "added", added, "removed", removed)
	return changes
}

// topology is the topology in use.
func (n *Node) topology() replica.Topology {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Topology()
}

// missingFrom is the names in of that are not in list.
func missingFrom(list, of []string) (missing []string) {
	for _, name := range of {
		if !slices.Contains(list, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// setEdges makes the replica and the bus use the edges of t, and greets the neighbours.
func (n *Node) setEdges(t replica.Topology) {
	var events []replica.Event
	n.locked(func() { events = n.replica.SetTopology(t, time.Now()) })
	n.cfg.Bus.SetNeighbours(t.Neighbours)
	n.emit(events)
	n.sendHeartbeats(wire.Heartbeat{Answer: true})
	n.wakeWriters()
}

// awaitEdges waits until the edges to peers are in step, for NewEdgeTimeout at most or until
// ctx ends.
func (n *Node) awaitEdges(ctx context.Context, peers []string) {
	const poll = 20 * time.Millisecond
	inStep := func(peer string) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		e, ok := n.replica.EdgeTo(peer)
		return !ok || n.replica.InStep(e)
	}
	for deadline := time.Now().Add(NewEdgeTimeout); time.Now().Before(deadline) && ctx.Err() == nil; {
		if !slices.ContainsFunc(peers, func(peer string) bool { return !inStep(peer) }) {
			return
		}
		wait(ctx, nil, poll)
	}
}
