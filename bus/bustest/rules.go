package bustest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"herd/bus"
)

func testDelivers(t *testing.T, h Harness) {
	a, b := h.Bus("A", 1, "B", "C"), h.Bus("B", 2, "A")
	toA, toB := start(t, a), start(t, b)
	toC := start(t, h.Bus("C", 3, "A"))
	for _, m := range []bus.Message{
		{Lane: bus.Records, Epoch: 1, Seq: 1, Data: []byte("one\n\x00\xff\n")},
		{Lane: bus.Records, Epoch: 1<<64 - 1, Seq: 1<<64 - 1, Data: []byte("great")},
		{Lane: bus.Records, Data: []byte("no headers")},
		{Lane: bus.Heartbeat, Data: []byte("beat")},
		{Lane: bus.Records, Epoch: 1, Seq: 2, Data: make([]byte, 60_000)}, // more than one read brings
	} {
		m.Peer = "B"
		send(t, a, m)
		m.Peer = "A"
		expect(t, toB.messages, m)
		expect(t, toB.batchEnd, struct{}{}) // each has a last one
	}
	send(t, b, bus.Message{Lane: bus.Records, Peer: "A", Epoch: 2, Seq: 1, Data: []byte("back")})
	expect(t, toA.messages, bus.Message{Lane: bus.Records, Peer: "B", Epoch: 2, Seq: 1, Data: []byte("back")})
	send(t, a, bus.Message{Lane: bus.Records, Peer: "C", Data: []byte("to C")})
	expect(t, toC.messages, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("to C")}) // and nothing before it
}

// testStreams: a frame of a stream goes to the subject that the follower named.
func testStreams(t *testing.T, h Harness) {
	heard := make(chan string, 10)
	h.Tap(func(message string) {
		if strings.HasPrefix(message, "to.follower") {
			heard <- message
		}
	})
	a := h.Bus("A", 1, "B")
	start(t, a)
	send(t, a, bus.Message{Lane: bus.Stream, Peer: "to.follower", Epoch: 1, Seq: 1, SnapshotEnd: true, Data: []byte("line")})
	expect(t, heard, "to.follower line")
}

func testOrder(t *testing.T, h Harness) {
	a := h.Bus("A", 1, "B")
	start(t, a)
	toB := start(t, h.Bus("B", 2, "A"))
	const messages = 900
	for i := range messages {
		send(t, a, bus.Message{Lane: bus.Lanes[i%len(bus.Lanes)], Peer: "B", Data: fmt.Append(nil, i)})
	}
	for i := range messages {
		expect(t, toB.messages, bus.Message{Lane: bus.Lanes[i%len(bus.Lanes)], Peer: "A", Data: fmt.Append(nil, i)})
	}
}

func testCopies(t *testing.T, h Harness) {
	a := h.Bus("A", 1, "B")
	start(t, a)
	toB := start(t, h.Bus("B", 2, "A"))
	data := []byte("first")
	send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: data})
	copy(data, "XXXXX")
	expect(t, toB.messages, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("first")})
}

func testDisconnectedOutsideRun(t *testing.T, h Harness) {
	a := h.Bus("A", 1, "B")
	m := bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("x")}
	if err := a.Send(m); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("Send before Run = %v, want ErrDisconnected", err)
	}
	r := newRecorder()
	stop := run(t, a, r)
	expect(t, r.connected, true)
	stop()
	if err := a.Send(m); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("Send after Run = %v, want ErrDisconnected", err)
	}
}

func testReconnects(t *testing.T, h Harness) {
	a, b := h.Bus("A", 1, "B"), h.Bus("B", 2, "A")
	toA, toB := start(t, a), start(t, b)
	h.Stop()
	expect(t, toA.connected, false)
	expect(t, toB.connected, false)
	if err := a.Send(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("lost")}); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("Send while disconnected = %v, want ErrDisconnected", err)
	}
	if err := a.PublishEvent("up", "B", "lost"); !errors.Is(err, bus.ErrDisconnected) {
		t.Errorf("PublishEvent while disconnected = %v, want ErrDisconnected", err)
	}
	h.Start()
	expect(t, toA.connected, true)
	expect(t, toB.connected, true)
	send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("again")})
	expect(t, toB.messages, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("again")})
}

func testStartsFirst(t *testing.T, h Harness) {
	h.Stop()
	a, b := h.Bus("A", 1, "B"), h.Bus("B", 2, "A")
	toA, toB := newRecorder(), newRecorder()
	run(t, a, toA)
	run(t, b, toB)
	h.Start()
	expect(t, toA.connected, true)
	expect(t, toB.connected, true)
	send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("x")})
	expect(t, toB.messages, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("x")})
}

func testMaxData(t *testing.T, h Harness) {
	a := h.Bus("A", 1, "B")
	start(t, a)
	toB := start(t, h.Bus("B", 2, "A"))
	m := bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1<<64 - 1, Seq: 1<<64 - 1, Data: make([]byte, a.MaxData())}
	send(t, a, m)
	m.Peer = "A"
	expect(t, toB.messages, m)
	m.Peer, m.Data = "B", make([]byte, 2*a.MaxData())
	if err := a.Send(m); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("Send of twice MaxData = %v, want ErrTooLarge", err)
	}
}

func testNameTaken(t *testing.T, h Harness) {
	a := h.Bus("A", 5, "B")
	start(t, a)
	toB := start(t, h.Bus("B", 2, "A"))
	for _, epoch := range []uint64{6, 4} { // whatever its clock says: the second ends
		second := newRecorder()
		err := h.Bus("A", epoch, "B").Run(t.Context(), second)
		if !errors.Is(err, bus.ErrNameTaken) {
			t.Fatalf("Run of a second A, epoch %d = %v, want ErrNameTaken", epoch, err)
		}
		if len(second.connected) > 0 {
			t.Errorf("a second A, epoch %d, was connected before it ended", epoch)
		}
	}
	send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("still here")})
	expect(t, toB.messages, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("still here")})
}

func testPublishesEvents(t *testing.T, h Harness) {
	heard := make(chan string, 10)
	h.Tap(func(s string) { heard <- s })
	a := h.Bus("A", 1, "B")
	start(t, a)
	for _, n := range []struct{ kind, peer, want string }{
		{"up", "B", "herd.event.A.up.B some text"},
		{"start", "", "herd.event.A.start some text"},
	} {
		if err := a.PublishEvent(n.kind, n.peer, "some text"); err != nil {
			t.Fatalf("PublishEvent: %v", err)
		}
		for {
			select {
			case got := <-heard:
				if len(got) > 10 && got[:10] == "herd.event" {
					if got != n.want {
						t.Errorf("tapped %q, want %q", got, n.want)
					}
				} else {
					continue
				}
			case <-time.After(patience):
				t.Fatalf("%q was not tapped", n.want)
			}
			break
		}
	}
}

// testSlowReceiver: messages that are lost because Receive is slow are reported, and the
// others arrive in order.
func testSlowReceiver(t *testing.T, h Harness) {
	a := h.Bus("A", 1, "B")
	toA := start(t, a)
	toB := newRecorder()
	toB.hold = make(chan struct{})
	run(t, h.Bus("B", 2, "A"), toB)
	expect(t, toB.connected, true)
	const messages = 20_000
	batch := make([]bus.Message, messages)
	for i := range batch {
		batch[i] = bus.Message{Lane: bus.Records, Peer: "B", Data: fmt.Append(nil, i)}
	}
	if err := a.Send(batch...); err != nil {
		t.Fatal(err)
	}
	close(toB.hold)
	lost := false
	for i := 0; i < messages && !lost; {
		select {
		case m := <-toB.messages:
			if string(m.Data) != fmt.Sprint(i) {
				expect(t, toB.errors, asyncError{Peer: "A", Slow: true})
				lost = true
			}
			i++
		case told := <-toB.errors:
			lost = told == asyncError{Peer: "A", Slow: true}
		case up := <-toB.connected: // another way to report it
			lost = !up
		case up := <-toA.connected: // of a broker that is slower than its clients' patience
			lost = !up
		case <-time.After(patience):
			t.Fatalf("%d of %d messages came, and nothing was reported", i, messages)
		}
	}
}

// testConcurrent: messages that several goroutines send at the same time arrive whole,
// and those of each in order.
func testConcurrent(t *testing.T, h Harness) {
	a := h.Bus("A", 1, "B")
	start(t, a)
	toB := start(t, h.Bus("B", 2, "A"))
	const messages = queueMessages / 5 // of each: all find room
	var sending sync.WaitGroup
	for _, lane := range bus.Lanes {
		sending.Go(func() {
			for i := range messages {
				send(t, a, bus.Message{Lane: lane, Peer: "B", Data: fmt.Append(nil, lane, i)})
				if err := a.PublishEvent("up", "B", fmt.Sprint(lane, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer sending.Wait()
	next := map[bus.Lane]int{}
	for range messages * len(bus.Lanes) {
		select {
		case m := <-toB.messages:
			if want := fmt.Sprint(m.Lane, next[m.Lane]); string(m.Data) != want {
				t.Fatalf("on %s came %q, want %q", m.Lane, m.Data, want)
			}
			next[m.Lane]++
		case <-time.After(patience):
			t.Fatalf("%v of %d messages each came", next, messages)
		}
	}
}

// testSetNeighbours: new neighbours' messages arrive and former ones' do not, and Send takes
// messages to present neighbours only; before Run and while it runs.
func testSetNeighbours(t *testing.T, h Harness) {
	a, b, c := h.Bus("A", 1, "C"), h.Bus("B", 2, "A"), h.Bus("C", 3, "A")
	a.SetNeighbours([]string{"B"})
	toA := start(t, a)
	toB, toC := start(t, b), start(t, c)
	to := func(peer string, data string) bus.Message {
		return bus.Message{Lane: bus.Records, Peer: peer, Data: []byte(data)}
	}
	for i, neighbours := range [][]string{{"B"}, {"B", "C"}, {"C"}, {}, {"C", "B"}} {
		if i > 0 {
			a.SetNeighbours(neighbours)
		}
		for _, peer := range []struct {
			name string
			bus  Bus
			from *recorder
		}{{"B", b, toB}, {"C", c, toC}} {
			send(t, peer.bus, to("A", peer.name+fmt.Sprint(i)))
			send(t, peer.bus, bus.Message{Lane: bus.Heartbeat, Peer: "A"}) // always arrives
			err := a.Send(to(peer.name, fmt.Sprint(i)))
			if slices.Contains(neighbours, peer.name) {
				if err != nil {
					t.Errorf("Send to %s, which is of %v: %v", peer.name, neighbours, err)
				}
				expect(t, peer.from.messages, to("A", fmt.Sprint(i)))
				expect(t, toA.messages, to(peer.name, peer.name+fmt.Sprint(i)))
			} else if !errors.Is(err, bus.ErrNoEdge) {
				t.Errorf("Send to %s, which is not of %v = %v, want ErrNoEdge", peer.name, neighbours, err)
			}
			got := <-toA.messages
			if got.Lane != bus.Heartbeat || got.Peer != peer.name {
				t.Fatalf("from %s came %v %q, want a heartbeat of %s", got.Peer, got.Lane, got.Data, peer.name)
			}
		}
	}
	if err := a.Send(to("B", "first"), to("D", "x"), to("C", "second"), to("D", "x"), to("B", "third")); !errors.Is(err, bus.ErrNoEdge) {
		t.Errorf("Send to neighbours and a stranger = %v, want ErrNoEdge", err)
	}
	expect(t, toB.messages, to("A", "first")) // what is for neighbours leaves
	expect(t, toB.messages, to("A", "third"))
	expect(t, toC.messages, to("A", "second"))
	tooLarge := to("B", string(make([]byte, 2*a.MaxData())))
	if err := a.Send(to("D", "x"), to("B", "x"), tooLarge); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("Send to a neighbour and a stranger, of more than MaxData = %v, want ErrTooLarge", err)
	}
	if err := a.Send(to("D", "x")); !errors.Is(err, bus.ErrNoEdge) {
		t.Errorf("Send to a stranger = %v, want ErrNoEdge", err)
	}
	send(t, a, to("B", "last"))
	expect(t, toB.messages, to("A", "last"))
	if err := a.Problem(); err != nil {
		t.Errorf("Problem = %v", err)
	}
}

// testMute: of a muted neighbour only heartbeats arrive, until it is no longer muted. It
// still gets what is sent to it.
func testMute(t *testing.T, h Harness) {
	a, b, c := h.Bus("A", 1, "B", "C"), h.Bus("B", 2, "A"), h.Bus("C", 3, "A")
	toA, toB := start(t, a), start(t, b)
	start(t, c)
	record := func(data string) bus.Message { return bus.Message{Lane: bus.Records, Peer: "A", Data: []byte(data)} }
	heartbeat := func(data string) bus.Message { return bus.Message{Lane: bus.Heartbeat, Peer: "A", Data: []byte(data)} }
	from := func(peer string, m bus.Message) bus.Message { m.Peer = peer; return m }
	send(t, b, record("before"))
	expect(t, toA.messages, from("B", record("before")))
	a.Mute([]string{"B"})
	a.SetNeighbours([]string{"B", "C"}) // waits for the subscriptions
	send(t, b, record("muted"))
	send(t, b, heartbeat("1"))
	expect(t, toA.messages, from("B", heartbeat("1")))
	send(t, c, record("not muted"))
	expect(t, toA.messages, from("C", record("not muted")))
	send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("to B")})
	expect(t, toB.messages, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("to B")})
	a.Mute(nil)
	a.SetNeighbours([]string{"B", "C"})
	send(t, b, record("after"))
	send(t, b, heartbeat("2"))
	expect(t, toA.messages, from("B", record("after")))
	expect(t, toA.messages, from("B", heartbeat("2")))
}

// testStrangers: heartbeats, and nothing else, may be sent to any server and arrive from any.
// Those of neighbours arrive once, in the order of their other messages.
func testStrangers(t *testing.T, h Harness) {
	a, b, c := h.Bus("A", 1, "B"), h.Bus("B", 2, "A"), h.Bus("C", 3, "A")
	start(t, b)
	toA, toC := start(t, a), start(t, c)
	send(t, c, bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("no edge")})
	send(t, c, bus.Message{Lane: bus.Heartbeat, Peer: "A", Data: []byte("hello")})
	expect(t, toA.messages, bus.Message{Lane: bus.Heartbeat, Peer: "C", Data: []byte("hello")})
	send(t, a, bus.Message{Lane: bus.Heartbeat, Peer: "C", Data: []byte("no edge")})
	expect(t, toC.messages, bus.Message{Lane: bus.Heartbeat, Peer: "A", Data: []byte("no edge")})
	for _, peer := range []string{"", "*", "A.B", "x y", strings.Repeat("x", 65)} {
		if err := a.Send(bus.Message{Lane: bus.Heartbeat, Peer: peer}); !errors.Is(err, bus.ErrNoEdge) {
			t.Errorf("Send of a heartbeat to %.20q = %v, want ErrNoEdge", peer, err)
		}
	}
	const messages = 200
	for i := range messages {
		send(t, b, bus.Message{Lane: []bus.Lane{bus.Records, bus.Heartbeat}[i%2], Peer: "A", Data: fmt.Append(nil, i)})
	}
	for i := range messages {
		expect(t, toA.messages, bus.Message{Lane: []bus.Lane{bus.Records, bus.Heartbeat}[i%2], Peer: "B", Data: fmt.Append(nil, i)})
	}
}
