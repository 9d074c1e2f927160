package natsbus

import (
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

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
	latest          time.Duration // of Received after the message before it had come
	f               *feed
}

func (r *receiver) Receive(bus.Message) { r.messages++ }
func (r *receiver) BatchEnd() {
	r.reads++
	r.latest = max(r.latest, time.Since(r.f.start)-time.Duration(r.messages)*r.f.pause)
}
func (r *receiver) Connected(bool)                        {}
func (r *receiver) AsyncError(string, error)              {}
func (r *receiver) Answer(string, []byte) ([]byte, error) { return nil, bus.ErrUnknown }

// TestReadTogether: messages that come closely are read together, and wait no longer
// than a nap for that; those that come one by one are each read at once.
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
				r := &run{Bus: New(Config{Prefix: "herd", Server: "B", Neighbours: []string{"A"}}), handler: h}
				r.intake = newIntake(r.cfg)
				s := &socket{Conn: f}
				s.beforeRead = func() { r.beforeRead(s) }
				for room := make([]byte, 1<<20); h.messages < messages; { // as nats.go does
					s.Read(room)
					for range f.count - h.messages {
						r.intake.messages <- &nats.Msg{Subject: "herd.edge.A.B", Data: data}
					}
				}
				if h.messages < tt.least*h.reads || h.messages > tt.most*h.reads {
					t.Errorf("%d messages were read at %d times, want %d to %d messages at a time", h.messages, h.reads, tt.least, tt.most)
				}
				if h.latest > nap {
					t.Errorf("a message waited %v, want %v at most", h.latest, nap)
				}
			})
		})
	}
}

// TestSettles: Received follows what was received, as soon as there is no more to read
// at once, also if the last read brought no whole message; and after a while if there
// always is.
func TestSettles(t *testing.T) {
	in := newIntake(Config{})
	now := time.Now()
	for i, tt := range []struct {
		pass  time.Duration
		lines int
		more  bool
		want  bool
	}{
		{0, 0, false, false},
		{0, 1, false, true},
		{0, 0, false, false},
		{0, 1, true, false},
		{0, 0, false, true},
		{0, 1, true, false},
		{overrun - 1, 1, true, false},
		{1, 1, true, true},
		{overrun - 1, 0, true, false},
		{overrun, 1, true, true},
	} {
		now = now.Add(tt.pass)
		if got := in.settles(tt.lines, tt.more, now); got != tt.want {
			t.Errorf("step %d: settles(%d, %v) = %v, want %v", i, tt.lines, tt.more, got, tt.want)
		}
	}
}

// TestRestIsDropped: what was left of a connection is not received amid the handshake
// of the next, in which whoever receives could not send.
func TestRestIsDropped(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			conn.Write([]byte("INFO {}\r\n"))
			conn.Close()
		}
	}()
	h := &receiver{f: &feed{start: time.Now()}}
	r := &run{Bus: New(Config{Prefix: "herd", Server: "B", Neighbours: []string{"A"}}), handler: h}
	r.intake = newIntake(r.cfg)
	r.intake.messages <- &nats.Msg{Subject: "herd.edge.A.B", Data: []byte("rest")}
	r.intake.unsettled = true
	conn, err := r.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 100)); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if h.messages > 0 || h.reads > 0 {
		t.Error("received, or passed on, what was left of the last connection")
	}
}
