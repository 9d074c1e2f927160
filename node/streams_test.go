package node

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/bus/bustest"
	"herd/node/follow"
	"herd/node/status"
	"herd/node/wire"
)

// tool follows servers on a network in memory. What it receives it confirms, unless it is deaf.
type tool struct {
	t        *testing.T
	node     *Node
	id       string
	mu       sync.Mutex
	follower *follow.Follower
	frames   []bus.Message
	deaf     bool
	failed   error
}

// newTool opens a stream at a server.
func newTool(t *testing.T, network *bustest.Network, n *Node, id, request string) *tool {
	t.Helper()
	parsed, err := follow.Parse([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	f := &tool{t: t, node: n, id: id, follower: follow.NewFollower(follow.NewFilter(parsed))}
	network.Tap(func(subject string, m bus.Message) {
		if subject == id {
			f.receive(m)
		}
	})
	if err := n.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: id, To: id, Data: []byte(request)}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *tool) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *tool) receive(m bus.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frames = append(f.frames, m); f.deaf || f.failed != nil {
		return
	}
	f.failed = f.follower.Frame(wire.Mark{Epoch: m.Epoch, Seq: m.Seq}, m.SnapshotEnd, m.Data, func(follow.Change) {})
	go f.node.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: f.id, Ack: m.Seq})
}

// check compares what the follower has with the server's map.
func (f *tool) check(what string) {
	f.t.Helper()
	want := map[string]string{}
	f.node.locked(func() {
		for line := range f.node.replica.Map().Lines() {
			rec, _ := wire.ParseRecord([]byte(line))
			want[string(rec.Client())] = line
		}
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil || !f.follower.Complete() || !maps.Equal(f.follower.Records(), want) {
		f.t.Errorf("%s: the follower (complete: %v, failed: %v) has %v, want %v", what, f.follower.Complete(), f.failed, f.follower.Records(), want)
	}
}

// TestStreams: a follower of a server gets its map, what its clients report, and what neighbours send; one
// that confirms nothing delays neither clients nor other followers.
func TestStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		b := h.servers["B"]
		ask := h.dial("A").ask
		ask("IAMAT before +1+1 100")
		settle()
		good, deaf := newTool(t, h.network, b.node, "good", ""), newTool(t, h.network, b.node, "deaf", "")
		deaf.locked(func() { deaf.deaf = true })
		time.Sleep(time.Second)
		settle()
		good.check("snapshot")
		ask("IAMAT first +1+1 100")
		settle()
		good.check("first change, at once")
		for i := range 300 {
			ask(fmt.Sprintf("IAMAT client%d +1+1 100", i))
			ask(fmt.Sprintf("IAMAT client%d +2+2 %d", i%7, 101+i))
		}
		time.Sleep(time.Second)
		settle()
		good.check("changes")
		if err := b.node.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "good", End: true}); err != nil {
			t.Errorf("end of a stream: %v", err)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		b.node.locked(func() {
			if got, _ := b.node.replica.Streams(); got != 0 {
				t.Errorf("%d streams are left of one that ended and one that is deaf", got)
			}
		})
	})
}

// TestStopEndsStreams: a server that stops tells its followers, once they have all that its clients have reported.
func TestStopEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		a := h.servers["A"]
		followers := []*tool{newTool(t, h.network, a.node, "one", ""), newTool(t, h.network, a.node, "two", "")}
		time.Sleep(time.Second)
		h.dial("A").ask("IAMAT last +1+1 100")
		settle()
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		for _, f := range followers {
			f.check("when the server has stopped")
			last := f.frames[len(f.frames)-1]
			if !last.End || len(last.Data) > 0 || last.Seq != f.frames[len(f.frames)-2].Seq {
				t.Errorf("the last of %d frames is %+v, want an end with the number of the one before", len(f.frames), last)
			}
		}
		if err := a.node.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "3", To: "x"}); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "the server is stopping") {
			t.Errorf("a stream of a server that has stopped: %v", err)
		}
	})
}

// TestStreamRefused: what a server refuses, with which error.
func TestStreamRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A").startAll()
		n := h.servers["A"].node
		for _, tt := range []struct {
			what     string
			request  bus.StreamRequest
			want     error
			wantText string
		}{
			{"junk", bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "1", To: "x", Data: []byte("junk")}, nil, "JSON"},
			{"a dump with a request", bus.StreamRequest{Endpoint: status.DumpEndpoint.Name, ID: "1", To: "x", Data: []byte("{}")}, nil, "must be empty"},
			{"a confirmation of no stream", bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "1", Ack: 1}, bus.ErrUnknown, "no stream"},
			{"an end of no stream", bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "1", End: true}, bus.ErrUnknown, "no stream"},
		} {
			err := n.Stream(tt.request)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.wantText) {
				t.Errorf("%s: %v, want %v with %q", tt.what, err, tt.want, tt.wantText)
			}
		}
		open := func(id string) error {
			return n.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: id, To: "x"})
		}
		for i := range 64 {
			if err := open(fmt.Sprint("s", i)); err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
		}
		if err := open("s0"); !errors.Is(err, bus.ErrConflict) {
			t.Errorf("a second stream of one ID: %v", err)
		}
		if err := open("one more"); !errors.Is(err, bus.ErrBusy) {
			t.Errorf("stream 65: %v", err)
		}
		h.network.Stop()
		settle()
		if err := open("one more"); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "NATS is disconnected: ask another server") {
			t.Errorf("a stream while the bus is disconnected: %v", err)
		}
		h.network.Start()
		settle()
		if err := open("one more"); err != nil {
			t.Errorf("a stream after the bus was disconnected, which ends all: %v", err)
		}
	})
}

// TestConfirmationsLimited: too many requests about streams are dropped; a second later they are taken again.
func TestConfirmationsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A").startAll()
		n := h.servers["A"].node
		if err := n.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "1", To: "x"}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			taken, dropped := 0, 0
			for range maxConfirmations + 10 {
				switch err := n.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "1", Ack: 1}); {
				case err == nil:
					taken++
				case errors.Is(err, bus.ErrBusy):
					dropped++
				}
			}
			if taken != maxConfirmations || dropped != 10 {
				t.Errorf("%d confirmations are taken and %d dropped, want %d and 10", taken, dropped, maxConfirmations)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestStreamOfServerThatIsNotReady: its map is not complete.
func TestStreamOfServerThatIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A")
		h.network.Stop()
		n := h.start("A", 1, nil).node
		if err := n.Stream(bus.StreamRequest{Endpoint: status.FollowEndpoint.Name, ID: "1", To: "x"}); !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("a stream of a server that is not ready: %v", err)
		}
	})
}
