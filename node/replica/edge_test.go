package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// TestReceivedRecordIsNotSentBack: a record that is queued for a neighbour is not sent
// when the neighbour sends us the same record or a newer one.
func TestReceivedRecordIsNotSentBack(t *testing.T) {
	for name, received := range map[string]string{
		"the same record": "AT A +1.000000000 kiwi +1+1 50",
		"a newer one":     "AT B +1.000000000 kiwi +1+1 55",
	} {
		r := newConnected(0)
		report(t, r, "IAMAT kiwi +1+1 50", 51)
		r.Frame(0, wire.Mark{}, []byte(received), time.Time{})
		if b := flush(r, 0); b != "" {
			t.Errorf("after B sent %s: sent to B %q, want nothing", name, b)
		}
		if c := flush(r, 1); c != received+"\n" {
			t.Errorf("after B sent %s: sent to C %q, want %q", name, c, received)
		}
	}
	r := newConnected(0)
	line := report(t, r, "IAMAT kiwi +1+1 50", 51)
	r.Frame(0, wire.Mark{}, []byte("AT B +1.000000000 kiwi +1+1 45"), time.Time{})
	if b := flush(r, 0); b != line+"\n" {
		t.Errorf("after B sent an older record: sent to B %q, want %q", b, line)
	}
}

func TestFrameSize(t *testing.T) {
	r := newConnected(0)
	var length int
	for i := range 10 {
		length = len(report(t, r, fmt.Sprintf("IAMAT c%d +1+1 50", i), 51)) + 1
	}
	r.SetMaxMessage(3 * length) // exactly three lines
	for seq, want := range []int{3, 3, 3, 1, 0} {
		f := r.NextFrame(0, nil)
		if f.Lines != want || len(f.Data) != want*length || f.Mark != (wire.Mark{Epoch: ourEpoch, Seq: uint64(seq) + 1}) {
			t.Fatalf("frame %d: %d lines, %d bytes, mark %v, want %d lines", seq+1, f.Lines, len(f.Data), f.Mark, want)
		}
		r.FrameDone(0, Sent)
	}
}

// TestRecordTooLarge: a record that the bus cannot carry is dropped and counted. Those
// behind it are sent.
func TestRecordTooLarge(t *testing.T) {
	r := newConnected(0)
	small := report(t, r, "IAMAT kiwi +1+1 50", 51)
	report(t, r, "IAMAT "+strings.Repeat("x", 100)+" +1+1 50", 51)
	last := report(t, r, "IAMAT emu +1+1 50", 51)
	r.SetMaxMessage(100)
	f := r.NextFrame(0, nil)
	if want := small + "\n" + last + "\n"; string(f.Data) != want || f.Lines != 2 || f.TooLarge != 1 || r.Unsendable() != 1 {
		t.Errorf("NextFrame = %q, %d lines, %d too large, want %q, 2 and 1", f.Data, f.Lines, f.TooLarge, want)
	}
}

// TestFrameNotSent: the records of a frame that was not sent are queued again, except
// those that the neighbour has sent meanwhile. The sequence number is used again only if
// nothing can have left.
func TestFrameNotSent(t *testing.T) {
	for result, number := range map[SendResult]uint64{NotSent: 1, Uncertain: 2} {
		r := newConnected(0)
		kiwi, emu := report(t, r, "IAMAT kiwi +1+1 50", 51), report(t, r, "IAMAT emu +1+1 50", 51)
		if f := r.NextFrame(0, nil); string(f.Data) != kiwi+"\n"+emu+"\n" {
			t.Fatalf("NextFrame = %q, want both records", f.Data)
		}
		const theirs = "AT B +1.000000000 kiwi +1+1 60\n"
		r.Frame(0, wire.Mark{}, []byte(theirs), time.Time{}) // while the frame is in flight
		r.FrameDone(0, result)
		if f := r.NextFrame(0, nil); string(f.Data) != emu+"\n" || f.Mark.Seq != number {
			t.Errorf("after result %d the next frame is %q, number %d, want %q, number %d", result, f.Data, f.Mark.Seq, emu+"\n", number)
		}
		r.FrameDone(0, Sent)
		if f := r.NextFrame(0, nil); f.Lines > 0 {
			t.Errorf("after everything was sent: %q, want nothing", f.Data)
		}
	}
}

// TestBacklogIsSentLast: live records are sent before the backlog. A newer record of a
// client in the backlog is live.
func TestBacklogIsSentLast(t *testing.T) {
	r := newReplica(0)
	var backlog string
	for i := range 3 {
		backlog += report(t, r, fmt.Sprintf("IAMAT old%d +1+1 50", i), 51) + "\n"
	}
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), time.Unix(60, 0))
	ends := r.Ends(nil)
	if !r.LivePassed(ends) {
		t.Error("backlog counts as live")
	}
	live := report(t, r, "IAMAT kiwi +2+2 60", 61) + "\n" + report(t, r, "IAMAT emu +1+1 60", 61) + "\n"
	ends = r.Ends(ends[:0])
	r.SetMaxMessage(len(live))
	if r.LivePassed(ends) {
		t.Error("live records count as passed before they were handed out")
	}
	if got := flush(r, 0); got != live {
		t.Errorf("sent %q first, want %q", got, live)
	}
	if !r.LivePassed(ends) {
		t.Error("live records do not count as passed")
	}
	r.SetMaxMessage(messageSize)
	if got := flush(r, 0); got != backlog {
		t.Errorf("sent %q last, want %q", got, backlog)
	}
}

// TestLivePassed: a client that was dropped and queued again takes its old slot, ahead of
// clients that were queued meanwhile. LivePassed is true only when these have left too.
func TestLivePassed(t *testing.T) {
	r := newConnected(0)
	record := func(server, client string, second int) string {
		return fmt.Sprintf("AT %s +1.000000000 %s +1+1 %d\n", server, client, second)
	}
	for i := range 3 { // queued for C
		r.Frame(0, wire.Mark{}, []byte(record("B", fmt.Sprint("x", i), 50)), time.Time{})
	}
	report(t, r, "IAMAT y +1+1 50", 51)
	for i := range 3 { // C has them: they are dropped, but keep their slots
		r.Frame(1, wire.Mark{}, []byte(record("B", fmt.Sprint("x", i), 50)), time.Time{})
	}
	ends := r.Ends(nil)
	for i := range 3 { // queued again, ahead of y
		r.Frame(0, wire.Mark{}, []byte(record("B", fmt.Sprint("x", i), 60)), time.Time{})
	}
	r.SetMaxMessage(len(record("B", "x0", 60)))
	for i := range 3 {
		flush(r, 0)
		if got, want := flush(r, 1), record("B", fmt.Sprint("x", i), 60); got != want {
			t.Fatalf("frame %d to C is %q, want %q", i+1, got, want)
		}
		if r.LivePassed(ends) {
			t.Fatalf("LivePassed after frame %d, but y is still queued", i+1)
		}
	}
	if got := flush(r, 1); got != record("A", "y", 50) || !r.LivePassed(ends) {
		t.Errorf("the last frame to C is %q, LivePassed = %v, want y's record and true", got, r.LivePassed(ends))
	}
}

// TestNewerReplacesQueued: a newer record of a queued client is sent in its place.
func TestNewerReplacesQueued(t *testing.T) {
	r := newConnected(0)
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	emu := report(t, r, "IAMAT emu +1+1 50", 51)
	newer := report(t, r, "IAMAT kiwi +1+1 52", 53)
	if got := flush(r, 0); got != newer+"\n"+emu+"\n" {
		t.Errorf("sent to B %q, want %q", got, newer+"\n"+emu+"\n")
	}
}

// TestUnconfirmed: Unconfirmed and Queued follow one record from a report until the
// neighbour confirms it.
func TestUnconfirmed(t *testing.T) {
	r := newReplica(0)
	now := time.Unix(1000, 0)
	check := func(when string, neighbours int) {
		t.Helper()
		if got := r.Unconfirmed(r.LastSent()); got != neighbours {
			t.Errorf("%s: Unconfirmed = %d, want %d", when, got, neighbours)
		}
	}
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	if up, down := r.Queued(); up != 0 || down != 2 {
		t.Errorf("all down: Queued = %d, %d, want 0, 2", up, down)
	}
	r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), now)
	if up, down := r.Queued(); up != 1 || down != 1 {
		t.Errorf("B up: Queued = %d, %d, want 1, 1", up, down)
	}
	check("B up, nothing sent", 0)
	flush(r, 0)
	check("sent to B", 1)
	old := heartbeatOf(theirEpoch, 0)
	old.Merged = wire.Mark{Epoch: ourEpoch - 1, Seq: 9}
	r.HandleHeartbeat(0, old, now)
	check("B confirms a frame of an earlier epoch", 1)
	merged := heartbeatOf(theirEpoch, 0)
	merged.Merged = wire.Mark{Epoch: ourEpoch, Seq: 1}
	r.HandleHeartbeat(0, merged, now)
	check("B confirms", 0)
	if b := r.Heartbeat(0, now); b.Seq != 1 || b.Merged != (wire.Mark{Epoch: theirEpoch}) || b.Records != 1 {
		t.Errorf("Heartbeat = %+v, want number 1, no frame of B merged, and 1 record", b)
	}
	flush(r, 1)
	check("C is down", 0)
}

// TestSmallMessages: a bus that takes no message of any size breaks nothing: no record is
// sent.
func TestSmallMessages(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 kiwi +1+1 100")
	p.a.SetMaxMessage(0)
	reply, _, err := p.a.HandleRequest(0, wire.Sync{Kind: wire.RequestLines, Body: wire.AppendBucket(nil, store.BucketOf([]byte("AT A +1.000000000 kiwi +1+1 100")), nil)}.Append(nil), p.now)
	if err != nil {
		t.Fatal(err)
	}
	if message, more, err := reply.Next(); more || err != nil || len(message) != wire.SyncHeaderSize {
		t.Errorf("Next = %q, %v, %v, want a last message without lines", message, more, err)
	}
}

// TestQueuedWhileDown: what is queued when a neighbour goes down is sent when it is up
// again, also without a repair.
func TestQueuedWhileDown(t *testing.T) {
	r := newConnected(0)
	want := report(t, r, "IAMAT kiwi +1+1 50", 51) + "\n"
	r.Disconnected()
	if f := r.NextFrame(0, nil); f.Lines > 0 {
		t.Errorf("a frame of %q for a neighbour that is down", f.Data)
	}
	r.HandleHeartbeat(0, heartbeatOf(theirEpoch, 0), time.Unix(60, 0))
	if f := r.NextFrame(0, nil); string(f.Data) != want {
		t.Errorf("NextFrame = %q after the neighbour came up again, want %q", f.Data, want)
	}
}
