package replica

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"herd/node/store"
	"herd/node/wire"
)

// TestUnsendable: a record that the bus cannot carry delays no other. The comparison ends,
// the edge is in step, both ends can tell that a record is missing, comparisons become
// rare, and it is sent once the bus takes it.
func TestUnsendable(t *testing.T) {
	p := newRepairPair(t)
	p.a.SetMaxMessage(4096)
	p.b.SetMaxMessage(4096)
	for i := range 100 {
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 c%d +1+1 100", i))
	}
	large := "AT A +1.000000000 " + strings.Repeat("x", 5000) + " +1+1 100"
	mergeLine(t, p.a, large)
	p.heartbeats()
	p.settle()
	if p.b.Map().Len() != 100 || !p.b.InStep(0) || !p.b.Ready(p.now.Add(time.Hour), p.now) {
		t.Errorf("B has %d of 100 records, in step %v", p.b.Map().Len(), p.b.InStep(0))
	}
	p.heartbeats()
	if a, b := p.a.Edge(0, p.now), p.b.Edge(0, p.now); a.Unsendable != 1 || b.TheirUnsendable != 1 || b.Unsendable != 0 {
		t.Errorf("A counts %d, B counts %d of A and %d of its own, want 1, 1 and 0", a.Unsendable, b.TheirUnsendable, b.Unsendable)
	}
	compared := p.b.edges[0].counts.Repairs
	for range 300 {
		p.now = p.now.Add(HeartbeatEvery)
		p.heartbeats()
		p.settle()
	}
	if n := p.b.edges[0].counts.Repairs - compared; n > 20 {
		t.Errorf("%d comparisons in five minutes, which bring nothing, want 20 at most", n)
	}
	p.a.SetMaxMessage(1 << 20)
	p.b.SetMaxMessage(1 << 20)
	if got := flush(p.a, 0); got != large+"\n" {
		t.Errorf("once the bus takes it %d bytes are sent, want the record", len(got))
	}
	if a := p.a.Edge(0, p.now); a.Unsendable != 0 || p.a.TooLarge() != 0 {
		t.Errorf("A still counts %d records, and %d over all edges", a.Unsendable, p.a.TooLarge())
	}
}

// TestUnsendableArrivesOtherwise: a record that the bus cannot carry does not count any more
// once the neighbour has it, or has sent a newer one.
func TestUnsendableArrivesOtherwise(t *testing.T) {
	large := "AT A +1.000000000 " + strings.Repeat("x", 5000) + " +1+1 100"
	for name, arrive := range map[string]func(p *pair){
		"equal maps":       func(p *pair) { mergeLine(t, p.b, large) },
		"newer from there": func(p *pair) { p.a.Frame(0, wire.Mark{}, []byte(large+"0\n"), p.now) },
		"a hash of it": func(p *pair) {
			mergeLine(t, p.b, large)
			hash := []uint64{xxhash.Sum64String(large)}
			request := wire.Sync{Kind: wire.RequestLines, Body: wire.AppendBucket(nil, store.BucketOf([]byte(large)), hash)}.Append(nil)
			reply, _, err := p.a.HandleRequest(0, request, p.now)
			if err != nil {
				t.Fatal(err)
			}
			reply.Next()
			if n := p.a.TooLarge(); n != 0 {
				t.Errorf("%d records count after the neighbour has shown that it has them", n)
			}
		},
	} {
		p := newRepairPair(t)
		p.a.SetMaxMessage(4096)
		p.heartbeats()
		report(t, p.a, "IAMAT "+strings.Repeat("x", 5000)+" +1+1 100", 101)
		flush(p.a, 0)
		if p.a.TooLarge() != 1 {
			t.Fatalf("%s: %d records count at the beginning, want 1", name, p.a.TooLarge())
		}
		arrive(p)
		p.heartbeats()
		if n := p.a.TooLarge(); n != 0 {
			t.Errorf("%s: %d records count", name, n)
		}
	}
}

// TestFitsIntoFrameOnly: a record that fits into a frame and not into a reply is sent in a
// frame.
func TestFitsIntoFrameOnly(t *testing.T) {
	p := newRepairPair(t)
	const line = "AT A +1.000000000 kiwi +1+1 100"
	p.a.SetMaxMessage(len(line) + 1)
	mergeLine(t, p.a, line)
	p.heartbeats()
	p.settle()
	if got := flush(p.a, 0); got != line+"\n" || p.a.TooLarge() != 0 {
		t.Errorf("sent %q, too large %d, want the record and 0", got, p.a.TooLarge())
	}
}

// TestNeighbourWithoutRepair: a neighbour that has repair off is not compared with and does
// not delay Ready. Records that a repair with others brings are sent to it.
func TestNeighbourWithoutRepair(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := New(Config{Name: "A", Topology: topologyOf(7, "B", "C"), Epoch: 1, Repair: 30 * time.Second})
	off := wire.Heartbeat{Epoch: 9, Format: wire.Format, Topology: 7, Digest: 5, Ready: true, NoRepair: true}
	events, _ := r.HandleHeartbeat(0, off, now)
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Mismatch && strings.Contains(e.Text, "B has repair off") }) {
		t.Errorf("events %+v, want a mismatch", events)
	}
	off.Epoch++
	if events, _ = r.HandleHeartbeat(0, off, now); slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Mismatch }) {
		t.Errorf("events %+v, want no second mismatch", events)
	}
	if !r.Ready(now.Add(GreetingTimeout), now) {
		t.Error("not ready")
	}
	for range 200 {
		now = now.Add(HeartbeatEvery)
		r.HandleHeartbeat(0, off, now)
		r.Lost(0, now)
		if _, _, ok := r.NextRequest(now); ok {
			t.Fatal("a comparison with a neighbour that has repair off")
		}
	}
	const line = "AT C +1.000000000 c1 +1+1 100"
	r.mergeReply(1, []byte(line), repaired)
	if got := flush(r, 0); got != line+"\n" {
		t.Errorf("sent %q, want the record that a repair has brought", got)
	}
	if b := New(Config{Name: "B", Topology: topologyOf(7, "A")}).Heartbeat(0, now); !b.NoRepair {
		t.Error("with repair off a heartbeat does not say so")
	}
}

// TestFormerLife: with repair off, what waited for a neighbour is dropped when it comes
// back as another process, and sent when it comes back as the same.
func TestFormerLife(t *testing.T) {
	for name, tt := range map[string]struct {
		repair time.Duration
		epoch  uint64
		want   bool
	}{
		"same process":             {0, theirEpoch, true},
		"another process":          {0, theirEpoch + 1, false},
		"repair on, other process": {time.Minute, theirEpoch + 1, true},
	} {
		r := New(Config{Name: "A", Topology: topologyOf(7, "B"), Epoch: ourEpoch, Repair: tt.repair})
		now := time.Unix(1000, 0)
		r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), now)
		now = now.Add(DownAfter)
		r.Tick(now)
		line := report(t, r, "IAMAT kiwi +1+1 100", 101)
		r.HandleHeartbeat(0, heartbeatOf(tt.epoch, 0), now)
		if got := flush(r, 0); (got == line+"\n") != tt.want {
			t.Errorf("%s: sent %q, want the record: %v", name, got, tt.want)
		}
		after := report(t, r, "IAMAT emu +1+1 100", 102)
		if got := flush(r, 0); got != after+"\n" {
			t.Errorf("%s: sent %q of what is reported later, want %q", name, got, after)
		}
	}
}

// TestReplyKeepsRecordsQueued: a record in a reply stays queued until the message was
// sent. If it has changed by then, it stays queued after that too.
func TestReplyKeepsRecordsQueued(t *testing.T) {
	p := newRepairPair(t)
	p.a.HandleHeartbeat(0, p.b.Heartbeat(0, p.now), p.now)
	report(t, p.a, "IAMAT kiwi +1+1 100", 101)
	report(t, p.a, "IAMAT emu +1+1 100", 101)
	p.b.HandleHeartbeat(0, p.a.Heartbeat(0, p.now), p.now)
	_, request, _ := p.b.NextRequest(p.now)
	request = p.exchange(p.b, p.a, request)
	reply, _, err := p.a.HandleRequest(0, request, p.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := reply.Next(); err != nil {
		t.Fatal(err)
	}
	if n := p.a.edges[0].live.length; n != 2 {
		t.Errorf("%d records are queued before the reply was sent, want 2", n)
	}
	newer := report(t, p.a, "IAMAT kiwi +1+1 102", 103)
	reply.Sent()
	if got := flush(p.a, 0); got != newer+"\n" {
		t.Errorf("queued after the reply was sent: %q, want %q", got, newer+"\n")
	}
}
