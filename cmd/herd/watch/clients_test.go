package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"herd/bus/natsbus"
	"herd/node/follow"
	"herd/node/geo"
)

// decode decodes a stream of clients, one word for each message.
func decode(t *testing.T, b []byte) (words []string) {
	t.Helper()
	le := binary.LittleEndian
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		switch kind {
		case nameMessage:
			n := int(le.Uint16(b[4:]))
			words = append(words, fmt.Sprintf("name %d %s", le.Uint32(b), b[6:6+n]))
			b = b[6+n:]
		case positionMessage:
			words = append(words, fmt.Sprintf("at %d %v %v %v", le.Uint32(b), math.Float32frombits(le.Uint32(b[4:])), math.Float32frombits(le.Uint32(b[8:])), math.Float64frombits(le.Uint64(b[12:]))))
			b = b[20:]
		case goneMessage:
			words = append(words, fmt.Sprint("gone ", le.Uint32(b)))
			b = b[4:]
		case clearMessage:
			words = append(words, "clear")
		case liveMessage:
			words = append(words, "live")
		case tickMessage:
			words = append(words, "tick")
			b = b[4:]
		default:
			t.Fatalf("a message of kind %d", kind)
		}
	}
	return words
}

// newHub is a hub that nobody follows for.
func newHub() *hub {
	return &hub{area: world, began: make(chan struct{}), ended: make(chan struct{}), paced: make(chan struct{}, 1), pages: map[*clientPage]struct{}{}, interval: time.Second, index: map[string]uint32{}}
}

func frame(seq uint64, end bool, lines ...string) natsbus.Frame {
	return natsbus.Frame{Epoch: 1, Seq: seq, SnapshotEnd: end, Data: []byte(strings.Join(append(lines, ""), "\n"))}
}

func at(client string, lat int, second int) string {
	return fmt.Sprintf("AT A +1.000000000 %s %+d+1 %d", client, lat, second)
}

// take puts a frame into a hub.
func take(t *testing.T, h *hub, f natsbus.Frame) {
	t.Helper()
	if err := h.Take(f); err != nil {
		t.Fatal(err)
	}
}

// expectNext checks what a page is told next.
func expectNext(t *testing.T, p *clientPage, want ...string) {
	t.Helper()
	if got := decode(t, p.next(nil)); strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("the page is told %q, want %q", got, want)
	}
}

// TestClientPage: a page is told names before positions, what is gone, and a snapshot that is new. An entry that gets another
// client is told as gone first, however slowly the page reads.
func TestClientPage(t *testing.T) {
	t.Parallel()
	h := newHub()
	p := h.add(time.Second)
	take(t, h, frame(1, false, at("kiwi", 1, 5)))
	expectNext(t, p, "clear", "name 0 kiwi", "at 0 1 1 5")
	take(t, h, frame(2, true, at("emu", 2, 5)))
	expectNext(t, p, "name 1 emu", "at 1 2 1 5", "live")
	expectNext(t, p)
	take(t, h, frame(3, false, at("kiwi", 3, 6), at("kiwi", 4, 7)))
	expectNext(t, p, "at 0 4 1 7")
	take(t, h, frame(4, false, "- kiwi"))
	take(t, h, frame(5, false, at("rhea", 5, 5)))
	expectNext(t, p, "gone 0", "name 0 rhea", "at 0 5 1 5")
	take(t, h, frame(6, false, "- rhea", at("rhea", 6, 9), "- emu"))
	expectNext(t, p, "gone 0", "name 0 rhea", "at 0 6 1 9", "gone 1")
	late := h.add(time.Second)
	expectNext(t, late, "clear", "name 0 rhea", "at 0 6 1 9", "live")
	h.Lost(errors.New("lost"))
	expectNext(t, p) // what is known stays, until another snapshot begins
	take(t, h, frame(1, true, at("moa", 7, 5)))
	expectNext(t, p, "clear", "name 0 moa", "at 0 7 1 5", "live")
	if err := h.Take(frame(3, false)); err == nil {
		t.Error("a frame is missing, and that is no error")
	}
}

// TestSlowClientPage: what waits for a page that does not read is bounded by the clients, and only the newest position of
// each is told.
func TestSlowClientPage(t *testing.T) {
	t.Parallel()
	h := newHub()
	p := h.add(time.Second)
	const clients, rounds = 50, 200
	for second := range rounds {
		var lines []string
		for i := range clients {
			lines = append(lines, at(fmt.Sprint("c", i), second%90, second))
		}
		take(t, h, frame(uint64(second+1), second == 0, lines...))
	}
	if len(p.queue) > clients || len(p.marked) > 1 {
		t.Errorf("%d entries wait for a page", len(p.queue))
	}
	words := decode(t, p.next(nil))
	if len(words) != 2+2*clients || words[2] != fmt.Sprintf("at 0 %d 1 %d", (rounds-1)%90, rounds-1) {
		t.Errorf("%d messages: %q", len(words), words)
	}
	long := strings.Repeat("x", 1000)
	for i := range 500 {
		take(t, h, frame(uint64(rounds+i+1), false, at(fmt.Sprint(long, i), 1, 1)))
	}
	if got := len(p.next(nil)); got < chunk || got > chunk+2000 {
		t.Errorf("%d bytes at once, want about %d", got, chunk)
	}
	h.change(follow.Change{Kind: follow.Enter, Client: strings.Repeat("y", 66_000), Line: at("y", 1, 1)}) // is left out
	for b := p.next(nil); len(b) > 0; b = p.next(nil) {
		if bytes.Contains(b, []byte("yyy")) {
			t.Error("a name that is too long is told")
		}
	}
}

// TestHub: pages with the same area share one stream. A page with a shorter interval makes it faster for all, and
// is no new snapshot for the others. Without pages the stream ends.
func TestHub(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	one, leave := page.hubs.join(world, time.Second)
	herd.frames <- frame(1, true, at("kiwi", 1, 5))
	await(t, "the first frame", func() bool { return isClosed(one.hub.began) })
	expectNext(t, one, "clear", "name 0 kiwi", "at 0 1 1 5", "live")
	two, leaveToo := page.hubs.join(world, 100*time.Millisecond)
	if two.hub != one.hub {
		t.Error("two pages with the same area have two streams")
	}
	await(t, "a faster stream", func() bool { return len(herd.follows()) == 2 })
	if got := herd.follows(); got[0].Interval != "1s" || got[1].Interval != "100ms" || got[1].Box != nil {
		t.Errorf("followed %+v", got)
	}
	herd.frames <- frame(1, true, at("kiwi", 2, 6))
	herd.frames <- frame(2, false, at("emu", 2, 6))
	eventuallyTold(t, one, "at 0 2 1 6", "name 1 emu")
	other, leaveOther := page.hubs.join(area{0, 0, 1, 1}, time.Second)
	if other.hub == one.hub {
		t.Error("pages with different areas share a stream")
	}
	await(t, "the other stream", func() bool { return len(herd.follows()) == 3 })
	if got := herd.follows()[2].Box; got == nil || *got != (follow.Box{South: 0, West: 0, North: 1, East: 1}) {
		t.Errorf("followed the box %+v", got)
	}
	leaveOther()
	leave()
	leaveToo()
	await(t, "the end of the streams", func() bool { return isClosed(one.hub.ended) && isClosed(other.hub.ended) })
	page.hubs.mu.Lock()
	defer page.hubs.mu.Unlock()
	if len(page.hubs.byArea) > 0 {
		t.Errorf("%d hubs without pages", len(page.hubs.byArea))
	}
}

// TestManyAreas: a page that moves about quickly does not leave many streams behind.
func TestManyAreas(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, newFakeHerd(), nil)
	for i := range 5 * MaxStreams {
		_, leave := page.hubs.join(area{0, 0, float64(i) / 10, 1}, time.Second)
		leave()
		page.hubs.mu.Lock()
		if n := len(page.hubs.byArea); n > MaxStreams {
			t.Fatalf("%d hubs", n)
		}
		page.hubs.mu.Unlock()
	}
}

// eventuallyTold waits until a page is told something, and nothing is void.
func eventuallyTold(t *testing.T, p *clientPage, want ...string) {
	t.Helper()
	told := ""
	await(t, strings.Join(want, ", "), func() bool {
		told += strings.Join(decode(t, p.next(nil)), ", ") + ", "
		for _, w := range want {
			if !strings.Contains(told, w) {
				return false
			}
		}
		return true
	})
	if strings.Contains(told, "clear") {
		t.Errorf("told %s", told)
	}
}

// TestStreamLimit: beyond MaxStreams further pages get 429, until one is closed.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	page, server := startPage(t, newFakeHerd(), nil)
	var open []*http.Response
	for range MaxStreams {
		reply, err := http.Get(server.URL + "/api/live")
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatal(reply, err)
		}
		open = append(open, reply)
	}
	for _, path := range []string{"/api/live", "/api/clients"} {
		if reply := get(page, path, nil); reply.Code != http.StatusTooManyRequests || strings.Count(reply.Body.String(), "\n") != 1 {
			t.Errorf("%s: %d %q, want 429", path, reply.Code, reply.Body)
		}
	}
	if reply := get(page, "/", nil); reply.Code != http.StatusOK {
		t.Errorf("the page itself: %d", reply.Code)
	}
	for _, reply := range open {
		reply.Body.Close()
	}
	await(t, "room for another stream", func() bool { return page.streams.Load() == 0 && page.feed.pages.count() == 0 })
}

// TestStalledPage: a page that takes nothing is disconnected.
func TestStalledPage(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes as long as a page may take nothing")
	}
	herd := newFakeHerd()
	page, server := startPage(t, herd, nil)
	go func() {
		name := strings.Repeat("x", 60_000)
		for i := range uint64(400) { // more than sockets hold
			select {
			case herd.frames <- frame(i+1, i == 0, at(fmt.Sprint(i, name), 1, 1)):
			case <-t.Context().Done():
				return
			}
		}
	}()
	reply, err := http.Get(server.URL + "/api/clients")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	began := time.Now()
	await(t, "the end of the stream", func() bool { return page.streams.Load() == 0 })
	if took := time.Since(began); took < writeTimeout/2 {
		t.Errorf("disconnected after %v", took)
	}
}

// TestAreas: the rounded area has all of the area, is valid, not much larger, and the same for areas that differ a little.
func TestAreas(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	shared := 0
	for range 20_000 {
		south, west := random.Float64()*180-90, random.Float64()*360-180
		height, width := math.Pow(random.Float64(), 3)*(90-south), math.Pow(random.Float64(), 3)*360
		east := west + width
		if east > 180 {
			east -= 360
		}
		a := area{south, west, south + height, east}
		r := a.rounded()
		if err := (follow.Request{Box: (*follow.Box)(&r)}).Check(); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		box := geo.Box{South: r.South, West: r.West, North: r.North, East: r.East}
		for range 10 {
			lon := west + random.Float64()*width
			if lon > 180 {
				lon -= 360
			}
			if p := (geo.Point{Lat: south + random.Float64()*height, Lon: lon}); !box.Contains(p) {
				t.Fatalf("%+v is rounded to %+v, which lacks %+v", a, r, p)
			}
		}
		rounded := r.East - r.West
		if rounded < 0 {
			rounded += 360
		}
		if r.North-r.South > 2*height+.01 || rounded > 2*width+.01 {
			t.Fatalf("%+v is rounded to %+v", a, r)
		}
		a.South, a.North = a.South-height/100, a.North-height/100
		if a.South >= -90 && a.rounded() == r {
			shared++
		}
	}
	if shared < 10_000 {
		t.Errorf("%d of 20,000 areas share a stream with one that differs a little", shared)
	}
	if got := world.rounded(); got != world || got.box() != nil {
		t.Errorf("the world is rounded to %+v", got)
	}
	if got := (area{-17, 179, -16, -179}).rounded(); got.West <= got.East || got.West > 179 {
		t.Errorf("an area across the 180th meridian is rounded to %+v", got)
	}
	if got, err := parseArea(url.Values{}); err != nil || got != world {
		t.Errorf("no area is %+v, %v", got, err)
	}
}

// TestIntervalOfHub: the stream has the shortest interval of its pages, and a longer one soon after the page that asked for that
// has left.
func TestIntervalOfHub(t *testing.T) {
	t.Parallel()
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	last := func(want string) {
		t.Helper()
		await(t, "a stream each "+want, func() bool {
			all := herd.follows()
			return len(all) > 0 && all[len(all)-1].Interval == want
		})
	}
	_, leave := page.hubs.join(world, time.Second)
	defer leave()
	last("1s")
	_, leaveFast := page.hubs.join(world, 100*time.Millisecond)
	last("100ms")
	_, leaveOther := page.hubs.join(world, 500*time.Millisecond)
	defer leaveOther()
	leaveFast()
	last("500ms")
	if n := len(herd.follows()); n != 3 {
		t.Errorf("%d streams, want 3", n)
	}
}
