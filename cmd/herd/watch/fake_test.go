package watch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/node/follow"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// edges is the subject of what is on the edges.
const edges = "herd.edge.>"

// fakeHerd is a herd in memory. What a test puts in is what it says.
type fakeHerd struct {
	frames chan natsbus.Frame // of the stream that is followed
	lost   chan error         // ends it

	mu       sync.Mutex
	followed []follow.Request
	servers  func() []string // to follow
	links    []*fakeLink
	down     error // Connect fails with it
}

func newFakeHerd() *fakeHerd {
	return &fakeHerd{frames: make(chan natsbus.Frame), lost: make(chan error)}
}

func (f *fakeHerd) Connect(context.Context) (Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down != nil {
		return nil, f.down
	}
	l := &fakeLink{done: make(chan struct{}), subscribed: map[string]func(string, []byte){}}
	f.links = append(f.links, l)
	return l, nil
}

// Follow takes frames from the test. After lost it goes on, as with the next server.
func (f *fakeHerd) Follow(ctx context.Context, servers func() []string, r follow.Request, frames Frames) error {
	f.mu.Lock()
	f.servers = servers
	f.followed = append(f.followed, r)
	f.mu.Unlock()
	for {
		select {
		case frame := <-f.frames:
			if err := frames.Take(frame); err != nil {
				frames.Lost(err)
			}
		case err := <-f.lost:
			frames.Lost(err)
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fakeHerd) Records(context.Context, string) ([]Record, error) {
	return nil, errors.New("not in this test")
}

func (f *fakeHerd) Near(context.Context, []byte) (natsbus.Reply, error) {
	return natsbus.Reply{}, errors.New("not in this test")
}

// link is the last connection on which servers were asked.
func (f *fakeHerd) link(t *testing.T) (l *fakeLink) {
	t.Helper()
	await(t, "a connection", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, one := range f.links {
			if one.asks() != nil {
				l = one
			}
		}
		return l != nil
	})
	return l
}

// tap is the connection that has the subscription to the edges, and what takes its messages.
func (f *fakeHerd) tap(t *testing.T) (l *fakeLink, take func(string, []byte)) {
	t.Helper()
	await(t, "the subscription to the edges", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, one := range f.links {
			if taker := one.taker(edges); taker != nil {
				l, take = one, taker
			}
		}
		return l != nil
	})
	return l, take
}

// follows is the requests to follow.
func (f *fakeHerd) follows() []follow.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]follow.Request(nil), f.followed...)
}

type fakeLink struct {
	done chan struct{}

	mu         sync.Mutex
	subscribed map[string]func(subject string, data []byte)
	asked      int
	take       func(natsbus.Reply)
	closed     bool
}

func (l *fakeLink) Ask(_ bus.Endpoint, _ []byte, take func(natsbus.Reply)) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	l.take = take
	return func() {}, nil
}

func (l *fakeLink) Info(func(map[string]string)) (func(), error) { return func() {}, nil }

func (l *fakeLink) Subscribe(subject string, take func(string, []byte)) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscribed[subject] = take
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subscribed, subject)
	}, nil
}

func (l *fakeLink) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// requests is how often servers were asked.
func (l *fakeLink) requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// asks is what takes the replies to the last request; nil without one.
func (l *fakeLink) asks() func(natsbus.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.take
}

// taker is the function that takes messages on a subject; nil without a subscription.
func (l *fakeLink) taker(subject string) func(string, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subscribed[subject]
}

// awaitTaker waits for a subscription.
func (l *fakeLink) awaitTaker(t testing.TB, subject string) func(string, []byte) {
	t.Helper()
	await(t, "the subscription to "+subject, func() bool { return l.taker(subject) != nil })
	return l.taker(subject)
}

func (l *fakeLink) Done() <-chan struct{} { return l.done }
func (l *fakeLink) Err() error            { return errors.New("the link is lost") }
func (l *fakeLink) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	clear(l.subscribed)
}

// startPage serves a page of a herd in memory.
func startPage(t *testing.T, herd Herd, change func(*Config)) (p *Page, s *httptest.Server) {
	t.Helper()
	g, err := topology.Load("A-B")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Topology: "A-B", Prefix: "herd", Graph: func() *topology.Graph { return g }, Herd: herd, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	p = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	s = httptest.NewServer(p)
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the page still runs")
		}
		s.CloseClientConnections()
		s.Close()
	})
	return p, s
}

// await waits until check is true.
func await(t testing.TB, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for tick := time.Tick(time.Millisecond); !check(); <-tick {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// get makes a request to a handler.
func get(h http.Handler, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:12080"+path, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
