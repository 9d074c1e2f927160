package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"herd/bus/natsbus"
	"herd/bus/topology"
)

// openLive joins a page to a feed. all is what it was told so far.
func openLive(t *testing.T, p *Page) (all func() string, leave func()) {
	t.Helper()
	page := newLivePage(false)
	leave, _ = p.feed.join(page)
	told := ""
	return func() string {
		told += string(page.take())
		return told
	}, leave
}

// TestTap: the edges are tapped while there is little traffic, on a connection of their own. A burst ends the tap, and pages and
// queues take a bounded part of it.
func TestTap(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	told, leave := openLive(t, page)
	defer leave()
	link, take := herd.tap(t)
	if link == herd.link(t) {
		t.Error("replies wait for what is on the edges")
	}
	await(t, "the tap", func() bool { return strings.Contains(told(), `{"tap":true}`) })
	take("herd.edge.A.B", []byte(at("kiwi", 1, 5)+"\n"+at("emu", 1, 5)+"\n"))
	await(t, "a hop", func() bool { return strings.Contains(told(), `"from":"A","to":"B","client":"kiwi","lines":2}`) })
	for _, malformed := range []string{"", "no record\n", at("kiwi", 1, 5) + "\nno record\n"} {
		take("herd.edge.B.A", []byte(malformed))
	}
	take("herd.edge.B", []byte(at("kiwi", 1, 5)+"\n"))
	take("herd.edge.B.A.C", []byte(at("kiwi", 1, 5)+"\n"))
	for range 3 * tapBurst {
		take("herd.edge.B.A", []byte(at("kiwi", 1, 5)+"\n"))
	}
	await(t, "the end of the tap", func() bool { return strings.Contains(told(), `{"tap":false}`) })
	if n := strings.Count(told(), "event: hop"); n > tapBurst+1 {
		t.Errorf("%d hops of a burst", n)
	}
	await(t, "another tap", func() bool { return strings.Count(told(), `{"tap":true}`) == 2 })
	off := false
	for line := range strings.Lines(told()) {
		switch line {
		case "data: {\"tap\":true}\n", "data: {\"tap\":false}\n":
			off = strings.Contains(line, "false")
		case "event: hop\n":
			if off {
				t.Fatal("a hop while the tap is off")
			}
		}
	}
	if again, _ := herd.tap(t); again == link {
		t.Error("the connection of the tap outlives it")
	}
}

// TestTapFromTheBeginning: the edges are tapped as soon as there is a connection, so that the first report is shown, too. A page that comes
// when the last one has been away for long is not told how that had been.
func TestTapFromTheBeginning(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	for range 2 {
		told, leave := openLive(t, page)
		told() // what is known from before
		herd.tap(t)
		link := herd.link(t)
		if n := link.requests(); n > 1 {
			t.Errorf("servers were asked %d times before the edges are tapped", n)
		}
		await(t, "the tap", func() bool { return strings.Contains(told(), `{"tap":true}`) })
		if strings.Contains(told(), `{"tap":false}`) {
			t.Error("the page was told that the edges are not tapped")
		}
		leave()
		await(t, "the end without pages", link.isClosed)
		herd.mu.Lock()
		herd.links = nil
		herd.mu.Unlock()
	}
}

// TestTapEndsAtOnce: too many messages, records or bytes within a second end the tap, whatever else there is to do.
func TestTapEndsAtOnce(t *testing.T) {
	t.Parallel()
	line := at("kiwi", 1, 5) + "\n"
	for name, tt := range map[string]struct {
		data  string
		times int
	}{
		"messages": {"", tapBurst + 1}, "records": {line, tapBurst + 1}, "batches": {strings.Repeat(line, tapBurst/2+1), 2}, "bytes": {strings.Repeat("a", tapBytes/2+1), 2},
	} {
		herd := newFakeHerd()
		taps := &tapping{hops: make(chan received, tapBurst), began: make(chan struct{})}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			taps.take(t.Context(), Config{Herd: herd, Prefix: "herd"})
		}()
		link, take := herd.tap(t)
		for range tt.times - 1 {
			take("herd.edge.A.B", []byte(tt.data))
		}
		if isClosed(ended) || len(taps.hops) != tt.times-1 {
			t.Errorf("%s: %d messages are taken", name, len(taps.hops))
		}
		take("herd.edge.A.B", []byte(tt.data))
		await(t, name+": the end of the tap", func() bool { return isClosed(ended) })
		if link.taker(edges) != nil || !link.isClosed() {
			t.Errorf("%s: the connection is still there", name)
		}
		take("herd.edge.A.B", []byte(line))
		if len(taps.hops) != tt.times-1 {
			t.Errorf("%s: a message after the end is taken", name)
		}
	}
}

// TestHopsOfAnEndedTap: hops that wait for a page are dropped when the tap ends.
func TestHopsOfAnEndedTap(t *testing.T) {
	t.Parallel()
	page := newLivePage(false)
	page.set(func(l *livePage) { l.addHop(make([]byte, keptHopBytes)) })
	page.set(func(l *livePage) { l.setTap([]byte("off;")) })
	page.set(func(l *livePage) { l.setTap([]byte("on;")); l.addHop([]byte("hop;")) })
	if got := string(page.take()); got != "on;hop;" {
		t.Errorf("%.100q", got)
	}
}

// TestStrangers: servers that the topology lacks are shown with one drawing for many, and are followed if they alone reply.
// Nobody knows of the topology's servers whether they are down.
func TestStrangers(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	if got := strings.Join(page.followed(), " "); got != "A B" {
		t.Errorf("before any reply %s are followed", got)
	}
	told, leave := openLive(t, page)
	defer leave()
	link := herd.link(t)
	asked := 0
	await(t, "the state without the servers of the topology", func() bool {
		n := link.requests()
		for i := range 12 {
			if n == asked {
				break
			}
			peer := fmt.Sprint("X", (i+1)%12)
			encoded, _ := json.Marshal(reply(fmt.Sprint("X", i), peer, time.Now(), 1, nil))
			link.asks()(natsbus.Reply{Server: fmt.Sprint("X", i), Data: encoded})
		}
		asked = n
		return strings.Contains(told(), `{"name":"A","state":"unknown","why":"no reply: the servers that reply have other names`)
	})
	if got := told(); strings.Contains(got, `"name":"A","state":"down"`) {
		t.Errorf("a server is down: %s", got)
	}
	await(t, "the drawing", func() bool { return strings.Contains(told(), `{"name":"X11","x":`) })
	if n := strings.Count(told(), "event: hello"); n > 4 {
		t.Errorf("%d graphs are told", n)
	}
	if got := strings.Join(page.followed(), " "); got != "X0 X1 X2 X3 X4 X5 X6 X7 X8 X9 X10 X11" {
		t.Errorf("%s are followed", got)
	}
}

// TestLate: a poll whose end the collector came to late says nothing of the servers. A reply that is late counts.
func TestLate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := &collector{state: newView(t, now), link: &fakeLink{}}
	for late, want := range map[time.Duration]int{replyTime: 1, 3 * time.Second: 0} {
		c.state.missed = map[string]int{}
		c.poll++
		c.began = now
		c.state.take(reply("B", "A", now, 1, nil), c.poll, now)
		c.endPoll(now.Add(late))
		if got := c.state.missed["A"]; got != want {
			t.Errorf("%v after a poll: A has missed %d, want %d", late, got, want)
		}
	}
	c.state.missed["A"] = missedPolls
	c.state.take(reply("A", "B", now, 1, nil), c.poll-1, now)
	if n := c.state.missed["A"]; n > 0 {
		t.Errorf("A has replied late, and has missed %d", n)
	}
}

// TestLongHops: a hop has the beginning of a long name, and differs from hops of clients whose names begin alike. Names that are
// not long stay as they are.
func TestLongHops(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"kiwi", strings.Repeat("é", 64), "k\xffw"} {
		if got := shortName([]byte(name)); string(got) != name {
			t.Errorf("%q: %q", name, got)
		}
	}
	long := strings.Repeat("\x01", 5000)
	a, b := shortName([]byte(long+"a")), shortName([]byte(long+"b"))
	if want := long[:64] + "…"; !strings.HasPrefix(string(a), want) || len(a) != len(want)+16 || string(a) == string(b) {
		t.Errorf("%q, %q", a, b)
	}
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	told, leave := openLive(t, page)
	defer leave()
	_, take := herd.tap(t)
	take("herd.edge.A.B", []byte(at(long, 1, 5)+"\n"))
	await(t, "a hop", func() bool { return strings.Contains(told(), "event: hop") })
	if _, hop, _ := strings.Cut(told(), "event: hop"); len(hop) > 3000 { // with the state that follows it
		t.Errorf("the hop has %d bytes", len(hop))
	}
}

// TestHopBytes: the hops that wait for a page are bounded together, and there is room again once it has read.
func TestHopBytes(t *testing.T) {
	t.Parallel()
	page := newLivePage(false)
	for range 2 {
		for range keptHops {
			page.set(func(l *livePage) { l.addHop(make([]byte, 1000)) })
		}
		if n := len(page.take()); n != keptHopBytes/1000*1000 {
			t.Errorf("%d bytes wait", n)
		}
	}
}

// TestEvents: events are told to all pages, and the last ones to later pages.
func TestEvents(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	told, leave := openLive(t, page)
	defer leave()
	link := herd.link(t)
	take := link.awaitTaker(t, "herd.event.>")
	take("herd.event.A", []byte("x"))
	take("herd.event.A.b.C.D", []byte("x"))
	for i := range 2 * keptEvents {
		take("herd.event.A.down.B", fmt.Appendf(nil, "2026-11-26T18:11:59.866787602Z A: number %d\x1b", i))
	}
	last := fmt.Sprintf(`{"at":1795716719866,"server":"A","kind":"down","peer":"B","text":"number %d\\u001b"}`, 2*keptEvents-1)
	await(t, "the last event", func() bool { return strings.Contains(told(), last) })
	take("herd.event.B.start", []byte("no time"))
	await(t, "an event without time", func() bool { return strings.Contains(told(), `"server":"B","kind":"start","text":"no time"}`) })
	page.feed.mu.Lock()
	if n := len(page.feed.current.events); n != keptEvents {
		t.Errorf("%d events are kept", n)
	}
	page.feed.mu.Unlock()
	late, leaveLate := openLive(t, page)
	defer leaveLate()
	if got := late(); strings.Count(got, "event: event") != keptEvents || !strings.Contains(got, `"no time"`) || strings.Contains(got, "number 5\\") || !strings.HasPrefix(got, "event: hello") {
		t.Errorf("a later page is told %d events: %.300s", strings.Count(got, "event: event"), got)
	}
}

// TestSlowLivePage: what waits for a page that does not read is bounded, and of the state it gets the newest.
func TestSlowLivePage(t *testing.T) {
	t.Parallel()
	page := newLivePage(false)
	for i := range 5000 {
		page.set(func(l *livePage) {
			l.herd = fmt.Appendf(nil, "herd %d;", i)
			l.events = append(l.events, fmt.Appendf(nil, "event %d;", i))
			l.addHop([]byte("hop;"))
		})
	}
	got := string(page.take())
	if strings.Count(got, "herd") != 1 || !strings.Contains(got, "herd 4999;") || strings.Count(got, "event") != keptEvents || !strings.Contains(got, "event 4999;") || strings.Count(got, "hop") != keptHops {
		t.Errorf("%.200s", got)
	}
	if rest := page.take(); len(rest) > 0 {
		t.Errorf("told twice: %s", rest)
	}
}

// TestReconnect: when the link is lost or cannot be made, pages are told why, and another is made.
func TestReconnect(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	herd.down = errors.New("nobody\nis there" + strings.Repeat(".", 1000))
	page, _ := startPage(t, herd, nil)
	told, leave := openLive(t, page)
	await(t, "the reason", func() bool { return strings.Contains(told(), `"bus":"disconnected","busWhy":"nobody\\nis there...`) })
	herd.mu.Lock()
	herd.down = nil
	herd.mu.Unlock()
	first := herd.link(t)
	await(t, "the connection", func() bool { return strings.Contains(told(), `"bus":"connected"`) })
	close(first.done)
	await(t, "another connection", func() bool { return herd.link(t) != first })
	leave()
	last := herd.link(t)
	await(t, "the end without pages", func() bool {
		last.mu.Lock()
		defer last.mu.Unlock()
		return last.closed
	})
}

// TestStreamOutlivesTimeouts: a stream goes on although the server limits requests and responses in time, and ends with Run.
func TestStreamOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	g, err := topology.Load("A-B")
	if err != nil {
		t.Fatal(err)
	}
	page := New(Config{Graph: func() *topology.Graph { return g }, Herd: newFakeHerd(), Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	go page.Run(ctx)
	server := httptest.NewUnstartedServer(page)
	server.Config.ReadTimeout, server.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	reply, err := http.Get(server.URL + "/api/live")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for states := 0; states < 3; { // one a second
		if !lines.Scan() {
			t.Fatalf("the stream has ended after %d states: %v", states, lines.Err())
		}
		if lines.Text() == "event: herd" {
			states++
		}
	}
	stop()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream has not ended well: %v", err)
	}
}
