package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
)

// newFull is a pair of which A's map is full of clients "a0", "a1", …, which B has too, and
// has refused B's client "new".
func newFull(t *testing.T) (p *pair, clients int) {
	p = newRepairPair(t)
	p.a = New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}, Epoch: 1, Repair: 30 * time.Second, MaxBytes: 100_000})
	for ; ; clients++ {
		line := fmt.Sprintf("AT A +1.000000000 a%d +1+1 100", clients)
		mergeLine(t, p.a, line)
		if p.a.store.Len() == clients {
			break
		}
		mergeLine(t, p.b, line)
	}
	p.heartbeats()
	p.heartbeats()
	if !p.a.InStep(0) || p.a.Full() != "" {
		t.Fatalf("%s, in step %v before anything was refused", p.a.Full(), p.a.InStep(0))
	}
	report(t, p.b, "IAMAT new +1+1 100", p.now.Unix())
	p.flood()
	return p, clients
}

// flood sends A what is queued at B.
func (p *pair) flood() (lines int) {
	for f := p.b.NextFrame(0, nil); f.Lines > 0; f = p.b.NextFrame(0, nil) {
		p.b.FrameDone(0, Sent)
		p.a.Frame(0, f.Mark, f.Data, p.now)
		lines += f.Lines
	}
	return lines
}

// after lets seconds pass, with heartbeats, ticks and comparisons.
func (p *pair) after(seconds int) {
	for range seconds {
		p.now = p.now.Add(HeartbeatEvery)
		p.heartbeats()
		p.a.Tick(p.now)
		p.b.Tick(p.now)
		p.settle()
	}
}

// TestFull: a server whose map is full refuses new clients of clients and neighbours, and
// says so; it updates those that it knows.
func TestFull(t *testing.T) {
	p, clients := newFull(t)
	if p.a.Map().Len() != clients || !strings.HasPrefix(p.a.Full(), "the map is full: it has ") || p.a.InStep(0) {
		t.Errorf("%d clients, %q, in step %v", p.a.Map().Len(), p.a.Full(), p.a.InStep(0))
	}
	if got := p.a.Edge(0, p.now).NoRoom; got != 1 {
		t.Errorf("%d records of B refused, want 1", got)
	}
	if merged := p.a.Heartbeat(0, p.now).Merged; merged.Seq >= p.b.edges[0].sent {
		t.Errorf("A confirms frame %d of %d, whose record it refused", merged.Seq, p.b.edges[0].sent)
	}
	if _, _, err := p.a.IAmAt(nil, wire.ParseCommand([]byte("IAMAT other +1+1 100")), p.now); err != ErrFull {
		t.Errorf("report of a new client: %v, want %v", err, ErrFull)
	}
	if got := report(t, p.a, "IAMAT a3 +2+2 200", p.now.Unix()); !strings.Contains(got, " a3 +2+2 200") {
		t.Errorf("report of a known client: %q", got)
	}
	p.after(5)
	report(t, p.b, "IAMAT a4 +3+3 300", p.now.Unix())
	p.flood()
	if line, _ := p.a.Map().Get(nil, []byte("a4")); !strings.HasSuffix(string(line), " a4 +3+3 300") {
		t.Errorf("a4 is %q after B sent a newer record", line)
	}
	if merged := p.a.Heartbeat(0, p.now).Merged; merged.Seq >= p.b.edges[0].sent {
		t.Error("A confirms a frame while its map is full")
	}
}

// TestNeighbourOfFull: a neighbour defers the records of further new clients, and sends
// them, and all others, once there is room.
func TestNeighbourOfFull(t *testing.T) {
	p, clients := newFull(t)
	p.after(1)
	if info := p.b.Edge(0, p.now); !strings.Contains(info.Problem, "the map of A is full") || !info.Up {
		t.Errorf("the edge of B is %+v", info)
	}
	for i := range 100 {
		report(t, p.b, fmt.Sprintf("IAMAT late%d +1+1 100", i), p.now.Unix())
	}
	report(t, p.b, "IAMAT a1 +9+9 900", p.now.Unix())
	if lines := p.flood(); lines != 1 || p.b.Edge(0, p.now).Deferred != 100 {
		t.Errorf("B sent %d lines, want that of a1 alone; it defers %d, want 100", lines, p.b.Edge(0, p.now).Deferred)
	}
	before := p.a.edges[0].counts
	p.after(25)
	if after := p.a.edges[0].counts; after.Repairs+after.Abandoned-before.Repairs-before.Abandoned > 1 {
		t.Errorf("%d comparisons in 25 s while the map is full, want one every 30 s at most", after.Repairs+after.Abandoned-before.Repairs-before.Abandoned)
	}
	p.a.store.SetLimit(10_000_000)
	p.after(3)
	p.flood()
	p.after(3)
	if p.a.Full() != "" || !p.a.InStep(0) || p.a.Map().Digest() != p.b.Map().Digest() || p.a.Map().Len() != clients+101 {
		t.Errorf("with room again: %q, in step %v, %d clients, want %d", p.a.Full(), p.a.InStep(0), p.a.Map().Len(), clients+101)
	}
	if info := p.b.Edge(0, p.now); info.Deferred != 0 || info.Problem != "" || info.Queued != 0 {
		t.Errorf("with room again, the edge of B is %+v", info)
	}
}

// TestFullAtTheStart: a server whose neighbour has more than its map takes gets ready with
// what there is room for, and says that it is full.
func TestFullAtTheStart(t *testing.T) {
	p := newRepairPair(t)
	p.a = New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}, Epoch: 1, Repair: 30 * time.Second, MaxBytes: 100_000})
	for i := range 10_000 {
		mergeLine(t, p.b, fmt.Sprintf("AT A +1.000000000 a%d +1+1 100", i))
	}
	greeted := p.now.Add(-unreadyTimeout)
	p.heartbeats()
	p.settle()
	if p.a.Full() == "" || !p.a.Ready(p.now, greeted) || p.a.Map().Len() < 500 || p.a.Map().Bytes() > 100_000 {
		t.Errorf("%q, ready %v, %d clients in %d bytes", p.a.Full(), p.a.Ready(p.now, greeted), p.a.Map().Len(), p.a.Map().Bytes())
	}
}

// TestReplayBeyondLimit: what a journal holds is merged, whatever the limit: it was
// acknowledged, and the next compaction would drop it.
func TestReplayBeyondLimit(t *testing.T) {
	r := New(Config{Name: "A", MaxBytes: 10_000})
	var frame strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&frame, "AT A +1.000000000 a%d +1+1 100\n", i)
	}
	if records, malformed := r.Replay([]byte(frame.String())); records != 1000 || malformed != 0 || r.Map().Len() != 1000 {
		t.Errorf("%d records, %d clients, want 1000", records, r.Map().Len())
	}
	if _, _, err := r.IAmAt(nil, wire.ParseCommand([]byte("IAMAT new +1+1 100")), time.Unix(100, 0)); err != ErrFull {
		t.Errorf("a new client: %v, want %v", err, ErrFull)
	}
}

// TestKnownClientsBeyondLimit: a server whose journal holds more than the limit updates the
// clients that it knows, by shorter and by somewhat longer records.
func TestKnownClientsBeyondLimit(t *testing.T) {
	r := New(Config{Name: "A", MaxBytes: 10_000})
	for i := range 1000 {
		r.Replay(fmt.Appendf(nil, "AT A +1.000000000 a%d +1.00000000+1.00000000 100\n", i))
	}
	for i, location := range []string{"+1+1", "+1.00000000+1.000000000000000000"} {
		if _, _, err := r.IAmAt(nil, wire.ParseCommand(fmt.Appendf(nil, "IAMAT a%d %s 200", i, location)), time.Unix(200, 0)); err != nil {
			t.Errorf("%s: %v", location, err)
		}
	}
}

// TestLimitAfterRestarts: the records of known clients do not grow further with each restart.
func TestLimitAfterRestarts(t *testing.T) {
	const limit = 100_000
	var journal []byte
	location, second := "+1+1.0", int64(100)
	for range 6 {
		r := New(Config{Name: "A", MaxBytes: limit})
		r.Replay(journal)
		for i := 0; journal == nil; i++ {
			if _, _, err := r.IAmAt(nil, wire.ParseCommand(fmt.Appendf(nil, "IAMAT a%d +1+1 100", i)), time.Unix(100, 0)); err != nil {
				break
			}
		}
		location += strings.Repeat("0", 16)
		second++
		for i := range r.Map().Len() {
			r.IAmAt(nil, wire.ParseCommand(fmt.Appendf(nil, "IAMAT a%d %s %d", i, location, second)), time.Unix(second, 0))
		}
		if got := r.Map().Bytes(); got > limit*3/2 {
			t.Errorf("with %d bytes of a location, the map has %d bytes, want %d at most", len(location), got, limit*3/2)
		}
		journal = []byte(strings.Join(sortedLines(r.Map()), "\n"))
	}
}

// TestFullWithIndexToGrow: a map whose index would have to double refuses clients long
// before its limit. It stays full: otherwise it would be compared every second.
func TestFullWithIndexToGrow(t *testing.T) {
	r := New(Config{Name: "A", MaxBytes: 1 << 40})
	for i := 0; r.store.BytesWithOneMore()-r.store.Bytes() < 10_000; i++ {
		mergeLine(t, r, fmt.Sprintf("AT A +1.000000000 a%d +1+1 100", i))
	}
	r.store.SetLimit(r.store.BytesWithOneMore() - 1)
	if _, _, err := r.IAmAt(nil, wire.ParseCommand([]byte("IAMAT new +1+1 100")), time.Unix(100, 0)); err != ErrFull {
		t.Fatalf("a new client: %v", err)
	}
	if r.Tick(time.Unix(101, 0)); r.Full() == "" {
		t.Errorf("with %d bytes of %d, and %d with the next client, the map is not full any more", r.store.Bytes(), r.store.Limit(), r.store.BytesWithOneMore())
	}
}

// TestRoomAfterExpiry: a full map is no longer full when a twelfth of its records has expired.
func TestRoomAfterExpiry(t *testing.T) {
	k := newKept(t, "B").begin()
	k.r.store.SetLimit(4_000_000)
	say := func(i int) error {
		c := wire.ParseCommand(fmt.Appendf(nil, "IAMAT client-number-%06d +12.345678-123.456789 %d", i, k.now.Unix()))
		_, _, err := k.r.IAmAt(nil, c, k.now)
		return err
	}
	n := 0
	for say(n) == nil {
		n++
	}
	k.pass(testKeep / 2)
	for i := n / 12; i < n; i++ {
		if err := say(i); err != nil {
			t.Fatal(err)
		}
	}
	k.pass(testKeep/2 + expiryGrace + 100*time.Second)
	if why := k.r.Full(); why != "" {
		t.Errorf("%d records of %d are held: %s", k.r.Map().Len(), n, why)
	}
	if err := say(n); err != nil {
		t.Errorf("a new client: %v", err)
	}
}
