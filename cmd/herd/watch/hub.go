package watch

import (
	"context"
	"math"
	"sync"
	"time"

	"herd/bus/natsbus"
	"herd/node/follow"
	"herd/node/wire"
)

// Frames takes the frames of a stream of clients.
type Frames interface {
	// Take takes a frame. After an error the stream is of no more use.
	Take(natsbus.Frame) error
	// Lost says that the stream is lost, and why. The next frame begins another one.
	Lost(error)
}

// hubLinger is how long a hub goes on without a page: a page that moves comes back.
const hubLinger = time.Second

// hubs are the streams of clients from the bus, by area. Pages with the same area share one.
type hubs struct {
	herd    Herd
	servers func() []string // to follow
	ctx     context.Context // of all streams
	all     sync.WaitGroup

	mu     sync.Mutex // taken before hub.mu
	closed bool
	byArea map[area]*hub
}

func newHubs(ctx context.Context, herd Herd, servers func() []string) *hubs {
	return &hubs{herd: herd, servers: servers, ctx: ctx, byArea: map[area]*hub{}}
}

// hub is what is known of the clients in an area, for the pages that show it: the newest position of each.
type hub struct {
	area    area
	follow  func(ctx context.Context, servers func() []string, r follow.Request, frames Frames) error
	servers func() []string // to follow
	began   chan struct{}   // closed when the first frame has arrived
	ended   chan struct{}   // closed when no more frames arrive
	paced   chan struct{}   // receives a token when the interval has changed
	release func()          // ends the hub

	mu       sync.Mutex
	pages    map[*clientPage]struct{}
	interval time.Duration    // the shortest that a page has asked for
	follower *follow.Follower // nil before the first frame of a stream
	failed   error            // the last
	heard    time.Time        // when the last frame has arrived
	live     bool             // the snapshot is complete
	round    uint32           // grows with each clear
	entries  []entry
	index    map[string]uint32 // in entries, by client
	free     []uint32          // entries without a client
	last     uint32            // number of the last client that got an entry
}

// entry is a client in the area. Its number tells it from other clients that had the same entry; 0 for none.
type entry struct {
	number   uint32
	lat, lon float32
	time     float64 // seconds, by the client's clock
	name     string
}

// close waits until all hubs have ended, whose context has. No more begin.
func (h *hubs) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.all.Wait()
}

// join makes a page receive the clients of an area. The page is nil after close.
func (h *hubs) join(a area, interval time.Duration) (page *clientPage, leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil
	}
	one := h.byArea[a]
	if one == nil {
		h.makeRoom()
		one = h.start(a, interval)
	}
	page = one.add(interval)
	return page, func() {
		one.remove(page)
		time.AfterFunc(hubLinger, func() { h.settle(one) })
	}
}

// makeRoom ends the hubs without pages if there are many. The lock is held.
func (h *hubs) makeRoom() {
	if len(h.byArea) < MaxStreams {
		return
	}
	for a, one := range h.byArea {
		one.mu.Lock()
		if len(one.pages) == 0 {
			delete(h.byArea, a)
			one.release()
		}
		one.mu.Unlock()
	}
}

// start begins to follow an area.
func (h *hubs) start(a area, interval time.Duration) *hub {
	ctx, cancel := context.WithCancel(h.ctx)
	one := &hub{
		area: a, follow: h.herd.Follow, servers: h.servers, began: make(chan struct{}), ended: make(chan struct{}), paced: make(chan struct{}, 1), release: cancel,
		pages: map[*clientPage]struct{}{}, interval: interval, index: map[string]uint32{},
	}
	h.byArea[a] = one
	h.all.Go(func() {
		defer cancel()
		one.run(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.byArea[a] == one {
			delete(h.byArea, a)
		}
		close(one.ended)
	})
	return one
}

// settle ends a hub without pages, and gives another the interval of those that it still has.
func (h *hubs) settle(one *hub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one.mu.Lock()
	defer one.mu.Unlock()
	if len(one.pages) > 0 {
		one.pace()
		return
	}
	if h.byArea[one.area] == one {
		delete(h.byArea, one.area)
	}
	one.release()
}

// run follows until ctx ends, or no server can be followed.
func (h *hub) run(ctx context.Context) {
	for ctx.Err() == nil {
		h.mu.Lock()
		request := follow.Request{Box: h.area.box(), Interval: h.interval.String()}
		if h.follower != nil { // with another interval
			h.follower.Restart()
		}
		h.mu.Unlock()
		following, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			select {
			case <-h.paced:
				cancel()
			case <-following.Done():
			}
		}()
		err := h.follow(following, h.servers, request, h)
		cancel()
		<-done
		if err != nil {
			h.mu.Lock()
			h.failed = err
			h.mu.Unlock()
			return
		}
	}
}

// Take implements Frames.
func (h *hub) Take(f natsbus.Frame) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.follower == nil {
		h.follower = follow.NewFollower(follow.NewFilter(follow.Request{Box: h.area.box()}))
		h.clear()
	}
	h.heard = time.Now()
	if !isClosed(h.began) {
		close(h.began)
	}
	err := h.follower.Frame(wire.Mark{Epoch: f.Epoch, Seq: f.Seq}, f.SnapshotEnd, f.Data, h.change)
	if f.SnapshotEnd {
		h.live = true
	}
	for page := range h.pages {
		signal(page.wake)
	}
	return err
}

// Lost implements Frames. What is known stays until another stream begins, and gets older.
func (h *hub) Lost(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.follower, h.failed = nil, err
}

// clear forgets all clients. The lock is held.
func (h *hub) clear() {
	h.round++
	h.live = false
	h.entries, h.free, h.index = nil, nil, map[string]uint32{}
	for page := range h.pages {
		page.queue, page.marked = nil, nil
	}
}

// change takes one change. The lock is held.
func (h *hub) change(c follow.Change) {
	i, known := h.index[c.Client]
	if c.Kind == follow.Leave {
		if known {
			delete(h.index, c.Client)
			h.entries[i] = entry{}
			h.free = append(h.free, i)
			h.mark(i)
		}
		return
	}
	r, err := wire.ParseRecord([]byte(c.Line))
	if err != nil || len(c.Client) > math.MaxUint16 { // the stream has no room for longer names
		return
	}
	if !known {
		if n := len(h.free); n > 0 {
			i, h.free = h.free[n-1], h.free[:n-1]
		} else {
			i = uint32(len(h.entries))
			h.entries = append(h.entries, entry{})
		}
		h.last++
		h.index[c.Client] = i
		h.entries[i] = entry{number: h.last, name: c.Client}
	}
	lat, lon := r.Position()
	e := &h.entries[i]
	e.lat, e.lon, e.time = float32(lat), float32(lon), r.Time.Seconds()
	h.mark(i)
}

// mark notes that an entry has changed. The lock is held.
func (h *hub) mark(i uint32) {
	for page := range h.pages {
		page.mark(i)
	}
}

// add adds a page, which gets all that is known.
func (h *hub) add(interval time.Duration) *clientPage {
	h.mu.Lock()
	defer h.mu.Unlock()
	page := &clientPage{hub: h, interval: interval, wake: make(chan struct{}, 1)}
	for i := range h.entries {
		if h.entries[i].number != 0 {
			page.mark(uint32(i))
		}
	}
	h.pages[page] = struct{}{}
	if interval < h.interval {
		h.pace()
	}
	signal(page.wake)
	return page
}

// pace makes the interval the shortest that a page has asked for. There must be a page. The lock is held.
func (h *hub) pace() {
	shortest := maxInterval
	for page := range h.pages {
		shortest = min(shortest, page.interval)
	}
	if shortest != h.interval {
		h.interval = shortest
		signal(h.paced)
	}
}

func (h *hub) remove(page *clientPage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pages, page)
}

// failure is the last error.
func (h *hub) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
