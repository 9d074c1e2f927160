package watch

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The kinds of messages of a stream of clients. Numbers are little-endian.
const (
	nameMessage     = 1 // u32 index, u16 length, bytes: the client's name, before its first position
	positionMessage = 2 // u32 index, f32 latitude, f32 longitude, f64 time of the client in seconds
	goneMessage     = 3 // u32 index: the client has left the area, or is unknown
	clearMessage    = 4 // all that was told is void
	liveMessage     = 5 // the snapshot is complete
	tickMessage     = 6 // u32 milliseconds since a server said anything
)

const (
	// followWait is how long a page waits for the first server to be followed.
	followWait = 5 * time.Second
	// chunk is how many bytes are written at once.
	chunk = 32 << 10
	// The intervals of changes.
	defaultInterval = 250 * time.Millisecond
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Minute
	// tickEvery is the time between ticks. It is less than a second, so that each second has one.
	tickEvery = 900 * time.Millisecond
)

// clientPage is one page that shows an area. What it has yet to be told is a set of entries of the hub,
// so that a page that reads slowly gets the newest positions only. The hub's lock guards it.
type clientPage struct {
	hub      *hub
	interval time.Duration
	wake     chan struct{}

	round    uint32   // of the hub, as the page knows
	toldLive bool     // in this round
	told     []uint32 // numbers of the clients that the page knows, by entry; 0 for none
	queue    []uint32 // entries that have changed, the oldest first
	marked   []uint64 // a bit for each entry in queue
}

// mark adds an entry to the queue.
func (p *clientPage) mark(i uint32) {
	for int(i/64) >= len(p.marked) {
		p.marked = append(p.marked, 0)
	}
	if bit := uint64(1) << (i % 64); p.marked[i/64]&bit == 0 {
		p.marked[i/64] |= bit
		p.queue = append(p.queue, i)
	}
}

// next appends what the page is to be told next, about chunk bytes at most.
func (p *clientPage) next(b []byte) []byte {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.round != h.round {
		p.round, p.toldLive, p.told = h.round, false, nil
		b = append(b, clearMessage)
	}
	done := 0
	for _, i := range p.queue {
		if len(b) >= chunk {
			break
		}
		done++
		p.marked[i/64] &^= 1 << (i % 64)
		b = p.appendEntry(b, i)
	}
	if p.queue = p.queue[done:]; len(p.queue) == 0 {
		p.queue = nil
		if h.live && !p.toldLive {
			p.toldLive = true
			b = append(b, liveMessage)
		}
	}
	return b
}

// appendEntry appends what has changed at an entry.
func (p *clientPage) appendEntry(b []byte, i uint32) []byte {
	for int(i) >= len(p.told) {
		p.told = append(p.told, 0)
	}
	e := &p.hub.entries[i]
	if p.told[i] != 0 && p.told[i] != e.number {
		b = binary.LittleEndian.AppendUint32(append(b, goneMessage), i)
		p.told[i] = 0
	}
	if e.number == 0 {
		return b
	}
	if p.told[i] == 0 {
		p.told[i] = e.number
		b = binary.LittleEndian.AppendUint32(append(b, nameMessage), i)
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(e.name))), e.name...)
	}
	b = binary.LittleEndian.AppendUint32(append(b, positionMessage), i)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(e.lat))
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(e.lon))
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(e.time))
}

// appendTick appends how long ago a server has said anything.
func (p *clientPage) appendTick(b []byte, now time.Time) []byte {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	ms := min(max(0, now.Sub(p.hub.heard).Milliseconds()), math.MaxUint32)
	return binary.LittleEndian.AppendUint32(append(b, tickMessage), uint32(ms))
}

// serveClients streams the clients in an area.
func (p *Page) serveClients(w http.ResponseWriter, r *http.Request) {
	a, err := parseArea(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	interval, err := parseInterval(r.URL.Query().Get("interval"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	end, ok := p.beginStream(w)
	if !ok {
		return
	}
	defer end()
	page, leave := p.hubs.join(a.rounded(), interval)
	if page == nil {
		http.Error(w, "the program is stopping", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	timeout := time.NewTimer(followWait)
	defer timeout.Stop()
	select {
	case <-page.hub.began:
	case <-page.hub.ended:
	case <-timeout.C:
	case <-r.Context().Done():
		return
	}
	if !isClosed(page.hub.began) {
		why := "no server can be followed"
		if err := page.hub.failure(); err != nil {
			why += ": " + err.Error()
		}
		http.Error(w, oneLine(why), http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Accel-Buffering", "no") // for proxies
	page.serve(r.Context().Done(), newStream(w))
}

// serve writes what the page is to be told, until done is closed, the hub ends, or the page does not
// read.
func (p *clientPage) serve(done <-chan struct{}, s stream) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	b := p.appendTick(nil, time.Now())
	ready := p.wake
	for {
		select {
		case <-ready:
			ready = nil // until the interval has passed
			pace.Reset(p.interval)
		case <-pace.C:
			ready = p.wake
			continue
		case now := <-tick.C:
			b = p.appendTick(b, now)
			if s.write(b) != nil {
				return
			}
			b = b[:0]
			continue
		case <-done:
			return
		case <-p.hub.ended:
			return
		}
		for b = p.next(b); len(b) > 0; b = p.next(b[:0]) {
			if s.write(b) != nil {
				return
			}
		}
	}
}

func parseInterval(text string) (time.Duration, error) {
	if text == "" {
		return defaultInterval, nil
	}
	ms, err := strconv.Atoi(text)
	d := time.Duration(ms) * time.Millisecond
	if err != nil || ms > int(maxInterval/time.Millisecond) || d < minInterval {
		return 0, fmt.Errorf("interval: %.40q is not a number of milliseconds from %d to %d", text, minInterval.Milliseconds(), maxInterval.Milliseconds())
	}
	return d, nil
}
