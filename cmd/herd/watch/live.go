package watch

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

const (
	// aliveEvery is the time after which a page hears something at least.
	aliveEvery = time.Second
	// writeTimeout is how long a page may take nothing of what it is sent.
	writeTimeout = 10 * time.Second
	// keptEvents is how many events a page is sent at its beginning, and how many wait for it.
	keptEvents = 100
	// keptHops and keptHopBytes are how many hops wait for a page, and how large they are together. Further ones are
	// dropped.
	keptHops     = 512
	keptHopBytes = 128 << 10
)

// livePage is what one page has yet to be sent. A page that reads slowly gets the newest state only,
// the last keptEvents events, and some of the hops.
type livePage struct {
	controls bool // it may use them
	wake     chan struct{}

	mu     sync.Mutex
	hello  []byte
	tap    []byte
	herd   []byte
	events [][]byte
	hops   [][]byte

	hopBytes int // of hops
}

func newLivePage(controls bool) *livePage {
	return &livePage{controls: controls, wake: make(chan struct{}, 1)}
}

// set changes what the page has yet to be sent.
func (l *livePage) set(change func(*livePage)) {
	l.mu.Lock()
	change(l)
	if n := len(l.events) - keptEvents; n > 0 {
		l.events = append(l.events[:0], l.events[n:]...)
	}
	l.mu.Unlock()
	signal(l.wake)
}

// setTap is for set. Hops are of no more use: they belong to another period, or to one that has ended.
func (l *livePage) setTap(encoded []byte) {
	l.tap, l.hops, l.hopBytes = encoded, nil, 0
}

// addHop adds a hop, if there is room. It is for set.
func (l *livePage) addHop(encoded []byte) {
	if len(l.hops) < keptHops && l.hopBytes+len(encoded) <= keptHopBytes {
		l.hops = append(l.hops, encoded)
		l.hopBytes += len(encoded)
	}
}

// take returns all that is to be sent, in order, and forgets it.
func (l *livePage) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b bytes.Buffer
	for _, part := range [][]byte{l.hello, l.tap, bytes.Join(l.events, nil), bytes.Join(l.hops, nil), l.herd} {
		b.Write(part)
	}
	l.hello, l.tap, l.herd, l.events, l.hops, l.hopBytes = nil, nil, nil, nil, nil, 0
	return b.Bytes()
}

// serveLive streams the state of the herd as server-sent events.
func (p *Page) serveLive(w http.ResponseWriter, r *http.Request) {
	end, ok := p.beginStream(w)
	if !ok {
		return
	}
	defer end()
	page := newLivePage(p.mayControl(r))
	leave, ended := p.feed.join(page)
	defer leave()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for proxies
	stream := newStream(w)
	silence := time.NewTicker(aliveEvery)
	defer silence.Stop()
	for {
		select {
		case <-page.wake:
			if stream.write(page.take()) != nil {
				return
			}
			silence.Reset(aliveEvery)
		case <-silence.C:
			if stream.write([]byte(":\n\n")) != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-ended:
			return
		}
	}
}

// stream writes a response that does not end. Each write has a deadline.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newStream(w http.ResponseWriter) stream { return stream{w, http.NewResponseController(w)} }

func (s stream) write(data []byte) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	return s.control.Flush()
}
