// Package bustest is a bus in memory, for tests that run a herd in virtual time or cut
// its edges, and the suite of tests that any bus must pass.
package bustest

import (
	"context"
	"regexp"
	"slices"
	"sync"
	"time"

	"herd/bus"
)

// Network is a bus in memory. Its zero value is connected, has no delay and loses
// nothing. It may be changed while it is used.
type Network struct {
	mu    sync.Mutex
	down  bool
	delay time.Duration
	cut   map[[2]string]bool
	taps  []func(subject string, m bus.Message)
	runs  map[string]*memoryRun // by server
}

// serverName matches the names that a topology may have.
var serverName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// queueMessages may wait for a slow receiver, of each neighbour; more are lost.
const queueMessages = 1024

// Bus is one server's place on the network.
func (n *Network) Bus(server string, neighbours ...string) *Memory {
	return &Memory{network: n, server: server, neighbours: neighbours}
}

// SetDelay delays each message sent from now on by d.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

// Cut loses all messages that a and b send each other from now on, until Heal.
func (n *Network) Cut(a, b string) { n.setCut(a, b, true) }

// Heal undoes Cut.
func (n *Network) Heal(a, b string) { n.setCut(a, b, false) }

func (n *Network) setCut(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut == nil {
		n.cut = map[[2]string]bool{}
	}
	n.cut[[2]string{a, b}], n.cut[[2]string{b, a}] = cut, cut
}

// Stop disconnects all servers, until Start.
func (n *Network) Stop() { n.setDown(true) }

// Start undoes Stop.
func (n *Network) Start() { n.setDown(false) }

func (n *Network) setDown(down bool) {
	n.mu.Lock()
	changed := n.down != down
	n.down = down
	var runs []*memoryRun
	for _, r := range n.runs {
		runs = append(runs, r)
	}
	n.mu.Unlock()
	for _, r := range runs {
		if changed {
			r.handler.Connected(!down)
		}
	}
}

// Tap calls do for each message sent from now on, before it is lost or delayed, with its
// subject under the prefix "herd". do must return soon. Frames of streams go nowhere else.
func (n *Network) Tap(do func(subject string, m bus.Message)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taps = append(n.taps, do)
}

// Memory is a bus in memory: see bus.Handler and natsbus.Bus for what it does.
type Memory struct {
	network    *Network
	server     string
	neighbours []string // guarded by network.mu, as muted is
	muted      []string
}

type memoryRun struct {
	bus     *Memory
	handler bus.Handler
	started *sync.Cond             // there are queues that nobody receives from
	queues  map[string]chan parcel // by sender; a stranger's has key ""
	idle    []chan parcel          // of queues: that nobody receives from
	ended   bool
}

type parcel struct {
	due     time.Time
	message bus.Message
}

// SetNeighbours is natsbus.Bus.SetNeighbours.
func (b *Memory) SetNeighbours(names []string) {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	b.neighbours = slices.Clone(names)
}

// Mute is natsbus.Bus.Mute.
func (b *Memory) Mute(names []string) {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	b.muted = slices.Clone(names)
}

// JoinShared is natsbus.Bus.JoinShared. This bus carries no requests.
func (b *Memory) JoinShared() {}

// Problem is natsbus.Bus.Problem: this bus has none.
func (b *Memory) Problem() error { return nil }

// Run is natsbus.Bus.Run.
func (b *Memory) Run(ctx context.Context, h bus.Handler) error {
	n := b.network
	r := &memoryRun{bus: b, handler: h, queues: map[string]chan parcel{}, started: sync.NewCond(&n.mu)}
	n.mu.Lock()
	if n.runs == nil {
		n.runs = map[string]*memoryRun{}
	}
	if n.runs[b.server] != nil {
		n.mu.Unlock()
		return bus.ErrNameTaken
	}
	n.runs[b.server] = r
	down := n.down
	n.mu.Unlock()

	if !down {
		h.Connected(true)
	}
	defer context.AfterFunc(ctx, r.end)()
	var receiving sync.WaitGroup
	n.mu.Lock()
	for !r.ended {
		for _, queue := range r.idle {
			receiving.Go(func() { r.receive(ctx, queue) })
		}
		r.idle = nil
		r.started.Wait()
	}
	n.mu.Unlock()
	receiving.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.runs, b.server)
	return nil
}

func (r *memoryRun) end() {
	r.bus.network.mu.Lock()
	defer r.bus.network.mu.Unlock()
	r.ended = true
	r.started.Signal()
}

// queue is the queue of a sender's messages. The network's lock is held.
func (r *memoryRun) queue(sender string) chan parcel {
	queue := r.queues[sender]
	if queue == nil {
		queue = make(chan parcel, queueMessages)
		r.queues[sender] = queue
		r.idle = append(r.idle, queue)
		r.started.Signal()
	}
	return queue
}

func (r *memoryRun) receive(ctx context.Context, queue chan parcel) {
	for {
		select {
		case p := <-queue:
			time.Sleep(time.Until(p.due))
			if r.bus.accepts(p.message) {
				r.handler.Receive(p.message)
				r.handler.BatchEnd()
			}
		case <-ctx.Done():
			return
		}
	}
}

// accepts reports whether a message is received: from neighbours that are not muted all
// are, and from others heartbeats.
func (b *Memory) accepts(m bus.Message) bool {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	return m.Lane == bus.Heartbeat || slices.Contains(b.neighbours, m.Peer) && !slices.Contains(b.muted, m.Peer)
}

// Send is natsbus.Bus.Send.
func (b *Memory) Send(ms ...bus.Message) error {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	var noEdge error
	var send []bus.Message
	for _, m := range ms {
		switch err := b.check(m); err {
		case nil:
			send = append(send, m)
		case bus.ErrNoEdge:
			noEdge = err
		default:
			return err
		}
	}
	for _, m := range send {
		b.send(m)
	}
	return noEdge
}

// check returns why a message cannot be sent. The network's lock is held.
func (b *Memory) check(m bus.Message) error {
	n := b.network
	switch {
	case n.down || n.runs[b.server] == nil:
		return bus.ErrDisconnected
	case m.Lane != bus.Stream && !slices.Contains(b.neighbours, m.Peer) && (m.Lane != bus.Heartbeat || !serverName.MatchString(m.Peer)):
		return bus.ErrNoEdge
	case len(m.Data) > maxData:
		return bus.ErrTooLarge
	}
	return nil
}

// send is Send of one message that was checked. The network's lock is held.
func (b *Memory) send(m bus.Message) {
	n := b.network
	m.Data = append([]byte(nil), m.Data...)
	if m.Lane == bus.Stream { // only taps see it
		n.tap(m.Peer, m)
		return
	}
	n.tap(bus.Prefix("herd").Between(m.Lane, b.server, m.Peer), m)
	to := n.runs[m.Peer]
	if to == nil || n.cut[[2]string{b.server, m.Peer}] {
		return
	}
	sender := b.server
	if !slices.Contains(to.bus.neighbours, sender) {
		sender = ""
	}
	m.Peer = b.server
	select {
	case to.queue(sender) <- parcel{time.Now().Add(n.delay), m}:
	default:
		go to.handler.AsyncError(sender, bus.ErrSlow)
	}
}

// MaxData is natsbus.Bus.MaxData.
func (b *Memory) MaxData() int { return maxData }

const maxData = 1<<20 - 128

// PublishEvent is natsbus.Bus.PublishEvent.
func (b *Memory) PublishEvent(kind, peer, text string) error {
	b.network.mu.Lock()
	defer b.network.mu.Unlock()
	if b.network.down || b.network.runs[b.server] == nil {
		return bus.ErrDisconnected
	}
	b.network.tap(bus.Prefix("herd").Event(b.server, kind, peer), bus.Message{Data: []byte(text)})
	return nil
}

func (n *Network) tap(subject string, m bus.Message) {
	for _, do := range n.taps {
		do(subject, m)
	}
}
