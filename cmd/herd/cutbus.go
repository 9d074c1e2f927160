package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/bus/topology"
)

// cuts are the edges that the page has cut.
type cuts struct {
	mu    sync.Mutex                             // held while edges changes
	edges atomic.Pointer[map[[2]string]struct{}] // by topology.Pair; nil for none. The map is not changed
}

// has reports whether the edge between two servers is cut.
func (c *cuts) has(a, b string) bool {
	edges := c.edges.Load()
	if edges == nil {
		return false
	}
	_, cut := (*edges)[topology.Pair(a, b)]
	return cut
}

// set cuts an edge, or heals it.
func (c *cuts) set(a, b string, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edges := map[[2]string]struct{}{}
	if old := c.edges.Load(); old != nil {
		edges = maps.Clone(*old)
	}
	edge := topology.Pair(a, b)
	if delete(edges, edge); cut {
		edges[edge] = struct{}{}
	}
	if len(edges) == 0 {
		c.edges.Store(nil)
		return
	}
	c.edges.Store(&edges)
}

// cutBus is the bus of a server on which the messages of edges that are cut get lost, both ways, as if the
// network lost them. So the neighbours miss each other's heartbeats, and repair what is missing once the edge is healed. It is
// node.Bus.
type cutBus struct {
	*natsbus.Bus
	server string
	cuts   *cuts
}

// Run implements node.Bus.
func (b cutBus) Run(ctx context.Context, h bus.Handler) error {
	return b.Bus.Run(ctx, cutHandler{h, b})
}

// Send implements node.Bus. The caller keeps its messages.
func (b cutBus) Send(messages ...bus.Message) error {
	if b.cuts.edges.Load() == nil {
		return b.Bus.Send(messages...)
	}
	kept := slices.DeleteFunc(slices.Clone(messages), b.loses)
	if len(kept) == 0 {
		return nil
	}
	return b.Bus.Send(kept...)
}

// loses reports whether a message is on an edge that is cut.
func (b cutBus) loses(m bus.Message) bool {
	return m.Lane != bus.Stream && b.cuts.has(b.server, m.Peer)
}

// cutHandler receives what is not lost.
type cutHandler struct {
	bus.Handler
	bus cutBus
}

// Receive implements bus.Handler.
func (h cutHandler) Receive(m bus.Message) {
	if !h.bus.loses(m) {
		h.Handler.Receive(m)
	}
}
