package natsbus

import (
	"slices"
	"strings"

	"herd/bus"
)

// channel is one kind of message on one edge: a neighbour, and the lane of what goes to it or
// comes from it.
type channel struct {
	peer string
	lane bus.Lane
}

// edges are a server's edges at one time, with their subjects. They are not changed.
type edges struct {
	out      map[channel]string // subjects on which we publish
	in       map[string]channel // by the subjects to which we subscribe
	peers    map[string]string  // neighbours by the subjects of their edges, both ways
	subjects []string           // the keys of in: the neighbours in their order, each with its lanes
}

// newEdges are the edges to neighbours. Nothing is received from those that are muted.
func newEdges(c Config, neighbours, muted []string) *edges {
	e := &edges{out: map[channel]string{}, in: map[string]channel{}, peers: map[string]string{}}
	for _, peer := range neighbours {
		for _, lane := range bus.Lanes {
			in, out := c.Prefix.Between(lane, peer, c.Server), c.Prefix.Between(lane, c.Server, peer)
			if _, known := e.out[channel{peer, lane}]; known {
				continue
			}
			e.out[channel{peer, lane}], e.peers[out] = out, peer
			if slices.Contains(muted, peer) {
				continue
			}
			e.in[in], e.peers[in] = channel{peer, lane}, peer
			e.subjects = append(e.subjects, in)
		}
	}
	return e
}

// subject is where a message is published; "" for one whose receiver is no neighbour,
// except for heartbeats, which may go to any server, and frames of streams.
func (b *Bus) subject(m bus.Message) string {
	if m.Lane == bus.Stream {
		return m.Peer
	}
	subject := b.edges.Load().out[channel{m.Peer, m.Lane}]
	if subject == "" && m.Lane == bus.Heartbeat && isServerName(m.Peer) {
		return b.cfg.Prefix.Between(m.Lane, b.cfg.Server, m.Peer)
	}
	return subject
}

// stranger is the sender of a heartbeat to us that no neighbour has sent, by its subject;
// "" if that is no server's name.
func (c Config) stranger(subject string) string {
	before, after, _ := strings.Cut(c.Prefix.Strangers(c.Server), "*")
	from := strings.TrimSuffix(strings.TrimPrefix(subject, before), after)
	if !isServerName(from) || from == c.Server {
		return ""
	}
	return from
}

// maxName is the most bytes of a server's name.
const maxName = 64

// isServerName reports whether s is a name that a topology may have.
func isServerName(s string) bool {
	return s != "" && len(s) <= maxName && !slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '_'
	})
}

// SetNeighbours changes the neighbours, while Run runs or before. New ones are subscribed,
// former ones unsubscribed. While connected it returns once the broker has the
// subscriptions, or after two seconds at most. Messages of former neighbours are not
// delivered any more, except heartbeats; one that is being received may still be. Send
// leaves out what is for them, with bus.ErrNoEdge, except for heartbeats. It may be called by several
// goroutines, but not by one in which the handler runs.
func (b *Bus) SetNeighbours(names []string) {
	b.mu.Lock()
	b.neighbours = slices.Clone(names)
	b.edges.Store(newEdges(b.cfg, b.neighbours, b.muted))
	r := b.running
	b.mu.Unlock()
	if r != nil {
		r.awaitEdges()
	}
}

// currentNeighbours is a copy of the neighbours' names.
func (b *Bus) currentNeighbours() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.neighbours)
}

// Mute unsubscribes from what these neighbours send, except heartbeats, until the next call:
// so that the broker drops it. It does not block, and may be called by any goroutine.
func (b *Bus) Mute(names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.muted = slices.Clone(names)
	b.edges.Store(newEdges(b.cfg, b.neighbours, b.muted))
	if r := b.running; r != nil {
		signal(r.edgesNew)
	}
}
