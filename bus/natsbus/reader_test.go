package natsbus

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"herd/bus"
)

// feed is a connection on which messages of one size arrive in even steps, from one
// pause after its start on.
type feed struct {
	net.Conn
	start time.Time
	pause time.Duration
	size  int
	count int // that have been read
}

func (f *feed) Read(b []byte) (int, error) {
	time.Sleep(time.Until(f.start.Add(time.Duration(f.count+1) * f.pause)))
	was := f.count
	f.count = int(time.Since(f.start) / f.pause)
	return min(len(b), (f.count-was)*f.size), nil
}

// receiver counts what it is told.
type receiver struct {
	messages, reads int
	latest          time.Duration // of BatchEnd after the message before it had come
	f               *feed         // may be nil

	connected chan bool
	errors    chan error        // may be nil
	onReceive func(bus.Message) // may be nil

	mu      sync.Mutex
	handler func(bus.Message) // may be nil
}

// handle makes h the receiver's handler of messages.
func (r *receiver) handle(h func(bus.Message)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handler = h
}

func newReceiver() *receiver { return &receiver{connected: make(chan bool, 100)} }

func (r *receiver) Receive(m bus.Message) {
	r.messages++
	if r.onReceive != nil {
		r.onReceive(m)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handler != nil {
		r.handler(m)
	}
}

func (r *receiver) BatchEnd() {
	r.reads++
	if r.f != nil {
		r.latest = max(r.latest, time.Since(r.f.start)-time.Duration(r.messages)*r.f.pause)
	}
}

func (r *receiver) Connected(up bool) { r.connected <- up }
func (r *receiver) AsyncError(_ string, err error) {
	if r.errors != nil {
		r.errors <- err
	}
}
func (r *receiver) Answer(string, []byte) (bus.Reply, error) { return bus.Reply{}, bus.ErrUnknown }
func (r *receiver) Stream(bus.StreamRequest) error           { return bus.ErrUnknown }

// TestReadTogether: messages that come closely are read together, and wait no longer
// than coalesceDelay for that; those that come one by one are each read at once.
func TestReadTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		lines       int // of a message
		pause       time.Duration
		least, most int // messages of a read, on average; at first each is alone
	}{
		"closely":                 {20, 200 * time.Microsecond, 4, 6},
		"small ones, closely":     {1, 50 * time.Microsecond, 10, 30},
		"large ones, seldom":      {300, 3 * time.Millisecond, 1, 1},
		"of one report at a time": {1, 150 * time.Microsecond, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const messages = 1000
				data := bytes.Repeat([]byte("AT Goloman +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997\n"), tt.lines)
				f := &feed{start: time.Now(), pause: tt.pause, size: len(data)}
				h := &receiver{f: f}
				r := newReader(New(Config{Prefix: "herd", Server: "B", Neighbours: []string{"A"}}), h, nil)
				s := newSocket(f)
				s.beforeRead = func() { r.drain(s) }
				for room := make([]byte, 1<<20); h.messages < messages; { // as nats.go does
					s.Read(room)
					for range f.count - h.messages {
						r.messages <- &nats.Msg{Subject: "herd.edge.A.B", Data: data}
					}
				}
				if h.messages < tt.least*h.reads || h.messages > tt.most*h.reads {
					t.Errorf("%d messages were read at %d times, want %d to %d messages at a time", h.messages, h.reads, tt.least, tt.most)
				}
				if h.latest > coalesceDelay {
					t.Errorf("a message waited %v, want %v at most", h.latest, coalesceDelay)
				}
			})
		})
	}
}

// TestReaderAccepts: what neighbours send is handled, and of others heartbeats. An empty
// message, with which a neighbour tries whether it may publish, is not. Messages of former neighbours may still be under way when their subscriptions have ended.
func TestReaderAccepts(t *testing.T) {
	h := newReceiver()
	var got []bus.Message
	h.onReceive = func(m bus.Message) { got = append(got, m) }
	b := New(Config{Prefix: "herd", Server: "A", Neighbours: []string{"B", "C"}})
	b.SetNeighbours([]string{"B"})
	r := newReader(b, h, nil)
	own := func(subject string) *nats.Msg {
		return &nats.Msg{Subject: subject, Sub: &nats.Subscription{Subject: subject}}
	}
	wild := func(subject string) *nats.Msg {
		return &nats.Msg{Subject: subject, Sub: &nats.Subscription{Subject: "herd.beat.*.A"}}
	}
	records := own("herd.edge.B.A")
	records.Data = []byte("x")
	for _, m := range []*nats.Msg{
		records, own("herd.edge.B.A"), own("herd.sync.B.A"), own("herd.edge.C.A"), own("herd.beat.B.A"), wild("herd.beat.B.A"), own("herd.beat.C.A"), wild("herd.beat.C.A"),
		wild("herd.beat.A.A"), wild("herd.beat.D-.A"), wild("herd.beat." + strings.Repeat("x", 65) + ".A"), wild("herd.beat.x_9.A"),
	} {
		r.receiveOne(m)
	}
	want := []bus.Message{
		{Lane: bus.Records, Peer: "B", Data: []byte("x")}, {Lane: bus.Heartbeat, Peer: "B"}, {Lane: bus.Heartbeat, Peer: "C"}, {Lane: bus.Heartbeat, Peer: "x_9"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBatchDue: a batch that has messages ends as soon as there is no more to read at
// once, also if the last read brought no whole message; and after a while if there always
// is more.
func TestBatchDue(t *testing.T) {
	var b openBatch
	now := time.Now()
	for i, tt := range []struct {
		pass  time.Duration
		lines bool // messages were received
		more  bool
		want  bool
	}{
		{0, false, false, false},
		{0, true, false, true},
		{0, false, false, false},
		{0, true, true, false},
		{0, false, false, true},
		{0, true, true, false},
		{maxDrain - 1, true, true, false},
		{1, true, true, true},
		{maxDrain - 1, false, true, false},
		{maxDrain, true, true, true},
	} {
		now = now.Add(tt.pass)
		b.any = b.any || tt.lines
		got := b.due(tt.more, now)
		if got != tt.want {
			t.Errorf("step %d: due(%v) = %v, want %v", i, tt.more, got, tt.want)
		}
		if got {
			b.end(now)
		}
	}
}
