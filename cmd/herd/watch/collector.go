package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"herd/bus/natsbus"
	"herd/node/status"
)

// collector is one period in which pages are open.
type collector struct {
	*feed
	ctx     context.Context // of all that it starts
	all     sync.WaitGroup  // goroutines that have connections
	state   *herdView
	link    Link          // nil while disconnected
	replies chan received // from the link's goroutines
	events  chan received // as well: many of these must not delay replies

	asked    map[string]uint64 // epochs of servers whose addresses were asked for
	stopInfo func()

	poll      int       // number of the last
	began     time.Time // when it was asked
	told      bool      // pages know the outcome of the last poll
	stopPolls []func()  // of the last ones
	connected chan connected
	graph     string       // that was told last, to see changes
	drawn     chan drawing // receives the drawing that is being made
	isDrawing bool
	tap       tap
}

// received is one message of the bus.
type received struct {
	poll    int // of a reply
	reply   natsbus.Reply
	info    map[string]string
	subject string // of an event, or of a message on an edge
	data    []byte
	at      time.Time
}

type connected struct {
	link Link
	err  error
}

// collect collects until no page has been open for a time, or ctx ends.
func (f *feed) collect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collector{
		feed: f, ctx: ctx, state: newHerdView(f.cfg), connected: make(chan connected), drawn: make(chan drawing, 1),
		replies: make(chan received, feedQueue), events: make(chan received, feedQueue),
	}
	defer c.all.Wait()
	defer c.forget() // after all that disconnect tells
	defer c.disconnect(nil)
	// The first graph is drawn here, so that pages have it before all else. Nothing is late yet.
	if names, edges := c.state.graph(); !c.drawing.isOf(names, edges) {
		c.drawing = draw(names, edges)
	}
	c.tellHello()
	c.connect(ctx, 0)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var waited <-chan time.Time // ends the wait for the replies of a poll
	used := time.Now()
	for {
		var lost <-chan struct{}
		if c.link != nil {
			lost = c.link.Done()
		}
		tapBegan, tapEnded, hops := c.tap.channels()
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if f.pages.count() > 0 {
				used = now
			} else if now.Sub(used) > linger {
				return
			}
			c.takeReplies()
			if !c.told {
				c.publish(time.Now())
			}
			c.ask()
			waited = time.After(replyTime)
		case <-waited:
			c.takeReplies()
			if now := time.Now(); !c.told {
				c.endPoll(now)
				c.publish(now)
			}
		case m := <-c.replies:
			c.takeReply(m)
			if !c.told && c.link != nil && c.state.complete(c.poll) {
				c.publish(time.Now())
			}
		case m := <-c.events:
			c.takeEvent(m)
		case <-tapBegan:
			c.tellTap(true)
		case <-tapEnded:
			c.tap.quietFor = 0
			c.setTap(false)
		case m := <-hops:
			c.state.heard(m.at)
			c.takeHop(strings.TrimPrefix(m.subject, string(c.cfg.Prefix)+".edge."), m)
		case d := <-c.drawn:
			c.isDrawing, c.drawing = false, d
			c.tellHello()
		case made := <-c.connected:
			if made.err != nil {
				c.state.busError = made.err
				c.connect(ctx, connectPause)
				continue
			}
			c.attach(made.link)
			c.setTap(true) // until it is known how high traffic is; too much ends it at once
			c.ask()
			waited = time.After(replyTime)
		case <-lost:
			c.disconnect(c.link.Err())
			c.connect(ctx, connectPause/4)
		}
	}
}

// forget makes new pages begin without an old state.
func (c *collector) forget() {
	c.tell(func(t *told) { t.herd, t.tap, t.hello, t.servers = nil, nil, nil, nil }, func(*livePage) {})
}

// connect makes a link, after a pause.
func (c *collector) connect(ctx context.Context, pause time.Duration) {
	go func() {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		dialing, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		link, err := c.cfg.Herd.Connect(dialing)
		select {
		case c.connected <- connected{link, err}:
		case <-ctx.Done():
			if err == nil {
				link.Close()
			}
		}
	}()
}

// attach begins to use a link.
func (c *collector) attach(link Link) {
	c.link, c.asked = link, map[string]uint64{}
	c.state.connected, c.state.busError = true, nil
	c.state.heard(time.Now())
	c.state.replied = time.Now()
	link.Subscribe(string(c.cfg.Prefix)+".event.>", func(subject string, data []byte) { // an error ends the link
		select {
		case c.events <- received{subject: subject, data: data, at: time.Now()}:
		default: // dropped: events are only shown
		}
	})
}

// disconnect closes the link, if there is one.
func (c *collector) disconnect(err error) {
	if c.link == nil {
		return
	}
	c.setTap(false)
	c.link.Close()
	c.link, c.stopPolls, c.stopInfo = nil, nil, nil
	c.state.connected, c.state.busError = false, err
}

// ask asks all servers for their status. Replies to the polls before still count, so that servers that are slow are not silent.
func (c *collector) ask() {
	c.poll++
	c.began, c.told = time.Now(), false
	if c.link == nil {
		return
	}
	if len(c.stopPolls) >= keptPolls {
		c.stopPolls[0]()
		c.stopPolls = slices.Delete(c.stopPolls, 0, 1)
	}
	poll := c.poll
	stop, err := c.link.Ask(status.Endpoint, nil, func(r natsbus.Reply) {
		select {
		case c.replies <- received{poll: poll, reply: r, at: time.Now()}:
		default: // the server does not seem to reply
		}
	})
	if err == nil { // an error ends the link
		c.stopPolls = append(c.stopPolls, stop)
	}
}

// endPoll notes who has not replied to the last poll in time. If the collector itself was late, that says nothing.
func (c *collector) endPoll(now time.Time) {
	if c.link != nil && now.Sub(c.began) <= 2*replyTime {
		c.state.endPoll(c.poll)
	}
}

// takeReplies takes the replies that wait.
func (c *collector) takeReplies() {
	for range len(c.replies) {
		c.takeReply(<-c.replies)
	}
}

// takeReply takes a reply. Anybody may send one on a bus without keys: a malformed one does not count.
func (c *collector) takeReply(m received) {
	if m.info != nil {
		c.state.takeInfo(m.info)
		return
	}
	var s status.Server
	if m.reply.Err == nil && json.Unmarshal(m.reply.Data, &s) == nil && s.Server == m.reply.Server && s.Server != "" {
		c.state.heard(m.at)
		c.state.take(s, m.poll, m.at)
		c.askInfo(s)
	}
}

// takeEvent takes an event.
func (c *collector) takeEvent(m received) {
	c.state.heard(m.at)
	if e, ok := parseEvent(strings.TrimPrefix(m.subject, string(c.cfg.Prefix)+".event."), m); ok {
		encoded := message("event", e)
		c.tell(func(t *told) { t.events = appendBounded(t.events, encoded, keptEvents) }, func(l *livePage) { l.events = append(l.events, encoded) })
	}
}

// askInfo asks all servers for the addresses of their ports for clients, once for each start of a server.
func (c *collector) askInfo(s status.Server) {
	if c.link == nil || c.asked[s.Server] == s.Epoch || c.state.servers[s.Server] == nil {
		return
	}
	c.asked[s.Server] = s.Epoch
	if c.stopInfo != nil {
		c.stopInfo()
		c.stopInfo = nil
	}
	stop, err := c.link.Info(func(metadata map[string]string) {
		select {
		case c.replies <- received{info: metadata, at: time.Now()}:
		default: // the address stays unknown
		}
	})
	if err == nil { // an error ends the link
		c.stopInfo = stop
	}
}

// appendBounded appends to a list, and drops the oldest beyond a number.
func appendBounded(list [][]byte, one []byte, most int) [][]byte {
	list = append(list, one)
	if len(list) > most {
		list = append(list[:0:0], list[len(list)-most:]...)
	}
	return list
}

// tellHello tells pages the graph, if it has changed and is drawn. Drawing many servers is slow, so another
// goroutine does it. Until then pages show the graph before.
func (c *collector) tellHello() {
	names, edges := c.state.graph()
	graph := fmt.Sprint(names, edges, c.state.addresses)
	if graph == c.graph {
		return
	}
	if !c.drawing.isOf(names, edges) {
		if !c.isDrawing {
			c.isDrawing = true
			go func() { c.drawn <- draw(names, edges) }()
		}
		return
	}
	c.graph = graph
	h := c.state.hello(names, edges, c.drawing.points)
	encoded := map[bool][]byte{}
	for _, controls := range []bool{false, true} { // no page has true without Config.Controls
		if controls && c.cfg.Controls == nil {
			continue
		}
		h.Controls, h.Report = controls, controls && c.cfg.Controls.CanReport()
		encoded[controls] = message("hello", h)
	}
	c.tell(func(t *told) { t.hello = encoded }, func(l *livePage) { l.hello = encoded[l.controls] })
}

// publish tells pages the state of the herd.
func (c *collector) publish(now time.Time) {
	c.told = true
	c.tellHello()
	s := c.state.snapshot(now, c.poll)
	c.setTap(c.link != nil && c.tapWanted(s))
	encoded, servers := message("herd", s), c.state.followed(now)
	c.tell(func(t *told) { t.herd, t.servers = encoded, servers }, func(l *livePage) { l.herd = encoded })
}
