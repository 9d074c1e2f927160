package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"herd/bus/natsbus"
	"herd/node/status"
)

// collector is one period in which pages are open.
type collector struct {
	*feed
	state *herdView
	link  Link          // nil while disconnected
	queue chan received // from the link's goroutines

	asked    map[string]uint64 // epochs of servers whose addresses were asked for
	stopInfo func()

	poll      int  // number of the last
	told      bool // pages know the outcome of the last poll
	stopPoll  func()
	connected chan connected
	graph     string // that was told last, to see changes
	tap       tap
}

// received is one message of the bus.
type received struct {
	poll    int // of a reply
	reply   natsbus.Reply
	info    map[string]string
	subject string // of an event or a message on an edge
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
	c := &collector{feed: f, state: newHerdView(f.cfg, &f.drawing), queue: make(chan received, feedQueue), connected: make(chan connected)}
	defer c.disconnect(nil)
	c.state.began = time.Now()
	c.tellHello()
	c.connect(ctx, 0)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var replies <-chan time.Time // ends the wait for the replies of a poll
	used := time.Now()
	for {
		var lost <-chan struct{}
		if c.link != nil {
			lost = c.link.Done()
		}
		select {
		case <-ctx.Done():
			c.forget()
			return
		case now := <-tick.C:
			c.tellHello() // a reload may have changed the topology
			if f.pages.count() > 0 {
				used = now
			} else if now.Sub(used) > linger {
				c.forget()
				return
			}
			if !c.told {
				c.publish(now)
			}
			c.ask()
			replies = time.After(replyTime)
		case <-replies:
			if !c.told {
				c.publish(time.Now())
			}
		case m := <-c.queue:
			c.take(m)
			if !c.told && c.link != nil && c.state.complete(c.poll) {
				c.publish(time.Now())
			}
		case made := <-c.connected:
			if made.err != nil {
				c.state.busError = made.err
				c.connect(ctx, connectPause)
				continue
			}
			c.attach(made.link)
			c.ask()
			replies = time.After(replyTime)
		case <-lost:
			c.disconnect(c.link.Err())
			c.connect(ctx, connectPause/4)
		}
	}
}

// forget makes new pages begin without an old state.
func (c *collector) forget() {
	c.tell(func(t *told) { t.herd, t.tap, t.hello = nil, nil, nil }, func(*livePage) {})
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
	link.Subscribe(string(c.cfg.Prefix)+".event.>", c.enqueue) // an error ends the link
}

// disconnect closes the link, if there is one.
func (c *collector) disconnect(err error) {
	if c.link == nil {
		return
	}
	c.setTap(false)
	c.link.Close()
	c.link, c.stopPoll, c.stopInfo = nil, nil, nil
	c.state.connected, c.state.busError = false, err
}

// enqueue takes a message in a goroutine of the link.
func (c *collector) enqueue(subject string, data []byte) {
	select {
	case c.queue <- received{subject: subject, data: data, at: time.Now()}:
	default: // events and hops are for people: some more or less
	}
}

// ask asks all servers for their status. Replies to earlier polls still count until then.
func (c *collector) ask() {
	c.poll++
	c.told = false
	if c.link == nil {
		return
	}
	if c.stopPoll != nil {
		c.stopPoll()
		c.stopPoll = nil
	}
	poll := c.poll
	stop, err := c.link.Ask(status.Endpoint, nil, func(r natsbus.Reply) {
		select {
		case c.queue <- received{poll: poll, reply: r, at: time.Now()}:
		default: // the server does not seem to reply
		}
	})
	if err == nil { // an error ends the link
		c.stopPoll = stop
	}
}

// take takes a message. Anybody may send one on a bus without keys: a malformed one does not count.
func (c *collector) take(m received) {
	if m.poll > 0 {
		var s status.Server
		if m.reply.Err == nil && json.Unmarshal(m.reply.Data, &s) == nil && s.Server == m.reply.Server && s.Server != "" {
			c.state.heard(m.at)
			c.state.take(s, m.poll, m.at)
			c.askInfo(s)
			c.tellHello()
		}
		return
	}
	if m.info != nil {
		c.state.takeInfo(m.info)
		c.tellHello()
		return
	}
	c.state.heard(m.at)
	rest, _ := strings.CutPrefix(m.subject, string(c.cfg.Prefix)+".")
	switch kind, rest, _ := strings.Cut(rest, "."); kind {
	case "event":
		if e, ok := parseEvent(rest, m); ok {
			encoded := message("event", e)
			c.tell(func(t *told) { t.events = appendBounded(t.events, encoded, keptEvents) }, func(l *livePage) { l.events = append(l.events, encoded) })
		}
	case "edge":
		c.takeHop(rest, m)
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
		case c.queue <- received{info: metadata, at: time.Now()}:
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

// tellHello tells pages the graph, if it has changed.
func (c *collector) tellHello() {
	names, edges := c.state.graph()
	graph := fmt.Sprint(names, edges, c.state.addresses)
	if graph == c.graph {
		return
	}
	c.graph = graph
	h := c.state.hello(names, edges)
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
	s := c.state.snapshot(now, c.poll)
	c.setTap(c.link != nil && c.tapWanted(s))
	encoded := message("herd", s)
	c.tell(func(t *told) { t.herd = encoded }, func(l *livePage) { l.herd = encoded })
}
