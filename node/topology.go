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
// each; nothing if the topology is the one that it has, or if the server stops. Clients stay
// connected. It may be called concurrently.
//
// New edges begin at once. Edges that are removed stay, for NewEdgeTimeout at most, until the
// new ones are in step, here and at the other ends of the removed ones. To tell them, a server
// has the hash of the old topology in its heartbeats until its own new edges are in step. If
// the server stops meanwhile, or ctx ends, they stay.
func (n *Node) SetTopology(ctx context.Context, t replica.Topology) (changes []string) {
	n.topologyChange.Lock()
	defer n.topologyChange.Unlock()
	before := n.topology()
	added, removed := missingFrom(before.Neighbours, t.Neighbours), missingFrom(t.Neighbours, before.Neighbours)
	if ctx.Err() != nil || len(added)+len(removed) == 0 && before.Hash == t.Hash {
		return nil
	}
	if len(removed) > 0 {
		waiting, cancel := context.WithTimeout(ctx, NewEdgeTimeout)
		defer cancel()
		old, both := before, t
		both.Neighbours = slices.Concat(t.Neighbours, removed)
		old.Neighbours = both.Neighbours
		n.setEdges(old)
		n.awaitEdges(waiting, added, func(i replica.EdgeInfo) bool { return i.InStep })
		n.setEdges(both)
		n.awaitEdges(waiting, removed, func(i replica.EdgeInfo) bool { return !i.Up || i.SameTopology })
	}
	surprised := slices.DeleteFunc(slices.Clone(removed), n.hasSameTopology) // the others remove the edge, too
	if ctx.Err() != nil || !n.setEdges(t) {
		n.log.Warn("topology not changed: the server stops", "added", added, "removed", removed)
		return nil
	}
	for _, peer := range surprised { // so that they need not wait for our silence
		n.refuseEdge(peer)
	}
	n.log.Info("topology changed", "neighbours", t.Neighbours, "added", added, "removed", removed)
	if len(added) > 0 {
		changes = append(changes, fmt.Sprintf("%s: new neighbours: %s", n.cfg.Name, strings.Join(added, ", ")))
	}
	if len(removed) > 0 {
		changes = append(changes, fmt.Sprintf("%s: no longer neighbours: %s", n.cfg.Name, strings.Join(removed, ", ")))
	}
	if len(changes) == 0 {
		changes = append(changes, n.cfg.Name+": the same neighbours, other edges elsewhere")
	}
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

// setEdges makes the replica and the bus use the edges of t, and greets the neighbours. It
// does nothing and reports false if the server stops.
func (n *Node) setEdges(t replica.Topology) bool {
	// The bus must have each edge that the replica has: else a message for it would fail.
	n.cfg.Bus.SetNeighbours(slices.Concat(t.Neighbours, missingFrom(t.Neighbours, n.topology().Neighbours)))
	var events []replica.Event
	var stopping bool
	n.locked(func() {
		if stopping = n.stopping; !stopping {
			events = n.replica.SetTopology(t, time.Now())
		}
	})
	if stopping {
		return false
	}
	n.cfg.Bus.SetNeighbours(t.Neighbours)
	n.emit(events)
	n.sendHeartbeats(wire.Heartbeat{Answer: true})
	n.wakeWriters()
	return true
}

// hasSameTopology reports whether a neighbour has the topology that we have.
func (n *Node) hasSameTopology(peer string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.replica.EdgeTo(peer)
	return ok && n.replica.Edge(e, time.Now()).SameTopology
}

// refuseEdge tells a server that we list no edge to it.
func (n *Node) refuseEdge(peer string) {
	var b wire.Heartbeat
	var silent bool
	n.locked(func() { b, silent = n.replica.NoEdgeHeartbeat(time.Now()), n.silent })
	if !silent {
		n.putHeartbeat(peer, b)
	}
}

// awaitEdges waits until the edges to peers are as done wants them, or ctx ends.
func (n *Node) awaitEdges(ctx context.Context, peers []string, done func(replica.EdgeInfo) bool) {
	const poll = 20 * time.Millisecond
	pending := func(peer string) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		e, ok := n.replica.EdgeTo(peer)
		return ok && !done(n.replica.Edge(e, time.Now()))
	}
	for ctx.Err() == nil && slices.ContainsFunc(peers, pending) {
		wait(ctx, nil, poll)
	}
}
