package replica

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

const us, them = 100, 200 // epochs

func newPair(maxClients int) *Replica {
	return New(Config{Name: "A", Neighbours: []string{"B", "C"}, Epoch: us, Topology: 7, MaxClients: maxClients})
}

// newConnectedPair is newPair with both neighbours up.
func newConnectedPair(maxClients int) *Replica {
	r := newPair(maxClients)
	for e := range r.edges {
		r.HandleHeartbeat(e, heartbeatOf(them, 0), time.Unix(10, 0))
	}
	return r
}

func heartbeatOf(epoch, seq uint64) wire.Heartbeat {
	return wire.Heartbeat{Epoch: epoch, Seq: seq, Format: wire.Format, Topology: 7}
}

func say(t *testing.T, r *Replica, command string, at int64) string {
	t.Helper()
	line, _, err := r.IAmAt(nil, wire.ParseCommand([]byte(command)), time.Unix(at, 0))
	if err != nil {
		t.Fatalf("IAmAt(%q): %v", command, err)
	}
	return string(line)
}

// fill sends all that is queued for an edge, in one frame.
func fill(r *Replica, e int) string {
	f := r.NextFrame(e, nil)
	if f.Lines > 0 {
		r.FrameDone(e, Sent)
	}
	return string(f.Data)
}

func TestNewsGoesToAllButItsSource(t *testing.T) {
	r := newConnectedPair(0)
	line := say(t, r, "IAMAT kiwi +1+1 50", 51)
	if want := "AT A +1.000000000 kiwi +1+1 50"; line != want {
		t.Fatalf("IAmAt = %q, want %q", line, want)
	}
	if b, c := fill(r, 0), fill(r, 1); b != line+"\n" || c != line+"\n" {
		t.Errorf("told B %q and C %q, want %q", b, c, line)
	}
	stale := say(t, r, "IAMAT kiwi +2+2 49", 52)
	if want := "AT A +3.000000000 kiwi +2+2 49"; stale != want {
		t.Errorf("an older report was answered %q, want %q", stale, want)
	}
	if got, _ := r.Map().Get(nil, []byte("kiwi")); string(got) != line {
		t.Errorf("an older report replaced the record: %q", got)
	}

	const newer = "AT D +1.000000000 kiwi +3+3 60\n"
	in, _ := r.Frame(0, wire.Mark{}, []byte(newer+line+"\n"+newer), time.Time{})
	if in.News != 1 || in.Stale != 1 || in.Duplicates != 1 || in.Malformed != 0 {
		t.Errorf("Frame = %+v, want one each of news, stale and duplicate", in)
	}
	if b, c := fill(r, 0), fill(r, 1); b != "" || c != newer {
		t.Errorf("told B, the source, %q and C %q, want nothing and %q", b, c, newer)
	}
}

// TestHeardWhileWaiting: what the neighbour tells us need not be told to it.
func TestHeardWhileWaiting(t *testing.T) {
	for name, heard := range map[string]string{
		"the same record": "AT A +1.000000000 kiwi +1+1 50",
		"a newer one":     "AT B +1.000000000 kiwi +1+1 55",
	} {
		r := newConnectedPair(0)
		say(t, r, "IAMAT kiwi +1+1 50", 51)
		r.Frame(0, wire.Mark{}, []byte(heard), time.Time{})
		if b := fill(r, 0); b != "" {
			t.Errorf("after B told us %s, B was told %q", name, b)
		}
		if c := fill(r, 1); c != heard+"\n" {
			t.Errorf("after B told us %s, C was told %q, want %q", name, c, heard)
		}
	}
	r := newConnectedPair(0)
	line := say(t, r, "IAMAT kiwi +1+1 50", 51)
	r.Frame(0, wire.Mark{}, []byte("AT B +1.000000000 kiwi +1+1 45"), time.Time{})
	if b := fill(r, 0); b != line+"\n" {
		t.Errorf("after B told us an older record, B was told %q, want %q", b, line)
	}
}

func TestFrameSurvivesBadLines(t *testing.T) {
	r := newPair(0)
	frame := "\x00\xff\n\n? junk\nAT B +1.000000000 kiwi +1+1 50\nAT B +1.000000000 emu +1+1 50" // no LF at the end
	in, events := r.Frame(0, wire.Mark{Epoch: them, Seq: 1}, []byte(frame), time.Time{})
	if in.News != 2 || in.Malformed != 2 || string(in.LastMalformed) != "? junk" || events != nil {
		t.Errorf("Frame = %+v, %v, want 2 news, 2 bad and no events", in, events)
	}
}

func TestFrameSize(t *testing.T) {
	r := newConnectedPair(0)
	var length int
	for i := range 10 {
		length = len(say(t, r, fmt.Sprintf("IAMAT c%d +1+1 50", i), 51)) + 1
	}
	r.SetMaxMessage(3 * length) // exactly three lines
	for seq, want := range []int{3, 3, 3, 1, 0} {
		f := r.NextFrame(0, nil)
		if f.Lines != want || len(f.Data) != want*length || f.Mark != (wire.Mark{Epoch: us, Seq: uint64(seq) + 1}) {
			t.Fatalf("frame %d: %d lines, %d bytes, mark %v, want %d lines", seq+1, f.Lines, len(f.Data), f.Mark, want)
		}
		r.FrameDone(0, Sent)
	}
}

// TestRecordTooLarge: a record that the bus cannot carry is dropped and counted. Those
// behind it are sent.
func TestRecordTooLarge(t *testing.T) {
	r := newConnectedPair(0)
	small := say(t, r, "IAMAT kiwi +1+1 50", 51)
	say(t, r, "IAMAT "+strings.Repeat("x", 100)+" +1+1 50", 51)
	last := say(t, r, "IAMAT emu +1+1 50", 51)
	r.SetMaxMessage(100)
	f := r.NextFrame(0, nil)
	if want := small + "\n" + last + "\n"; string(f.Data) != want || f.Lines != 2 || f.TooLarge != 1 || r.Unsendable() != 1 {
		t.Errorf("NextFrame = %q, %d lines, %d too large, want %q, 2 and 1", f.Data, f.Lines, f.TooLarge, want)
	}
}

func TestFrameNotSent(t *testing.T) {
	for result, number := range map[SendResult]uint64{NotSent: 1, Uncertain: 2} {
		r := newConnectedPair(0)
		kiwi, emu := say(t, r, "IAMAT kiwi +1+1 50", 51), say(t, r, "IAMAT emu +1+1 50", 51)
		if f := r.NextFrame(0, nil); string(f.Data) != kiwi+"\n"+emu+"\n" {
			t.Fatalf("NextFrame gave %q", f.Data)
		}
		const theirs = "AT B +1.000000000 kiwi +1+1 60\n"
		r.Frame(0, wire.Mark{}, []byte(theirs), time.Time{}) // while it is being sent
		r.FrameDone(0, result)
		if f := r.NextFrame(0, nil); string(f.Data) != emu+"\n" || f.Mark.Seq != number {
			t.Errorf("after result %d the next frame is %q, number %d, want what B did not send us, number %d", result, f.Data, f.Mark.Seq, number)
		}
		r.FrameDone(0, Sent)
		if f := r.NextFrame(0, nil); f.Lines > 0 {
			t.Errorf("after all was sent: %q", f.Data)
		}
	}
}

// TestBacklogIsSentLast: what a neighbour missed while it was down does not delay news,
// and newer news of the same client takes the place of the old.
func TestBacklogIsSentLast(t *testing.T) {
	r := newPair(0)
	var backlog string
	for i := range 3 {
		backlog += say(t, r, fmt.Sprintf("IAMAT old%d +1+1 50", i), 51) + "\n"
	}
	say(t, r, "IAMAT kiwi +1+1 50", 51)
	r.HandleHeartbeat(0, heartbeatOf(them, 0), time.Unix(60, 0))
	ends := r.Ends(nil)
	if !r.LivePassed(ends) {
		t.Error("backlog counts as live")
	}
	live := say(t, r, "IAMAT kiwi +2+2 60", 61) + "\n" + say(t, r, "IAMAT emu +1+1 60", 61) + "\n"
	ends = r.Ends(ends[:0])
	r.SetMaxMessage(len(live))
	if r.LivePassed(ends) {
		t.Error("live records count as passed before they were handed out")
	}
	if got := fill(r, 0); got != live {
		t.Errorf("sent %q first, want %q", got, live)
	}
	if !r.LivePassed(ends) {
		t.Error("live records do not count as passed")
	}
	r.SetMaxMessage(messageSize)
	if got := fill(r, 0); got != backlog {
		t.Errorf("sent %q last, want %q", got, backlog)
	}
}

// TestPassedCountsPositions: a client that was dropped and queued again stands in its old
// slot, before clients that were queued meanwhile. Only when the last of these has left
// is everything sent.
func TestPassedCountsPositions(t *testing.T) {
	r := newConnectedPair(0)
	record := func(server, client string, second int) string {
		return fmt.Sprintf("AT %s +1.000000000 %s +1+1 %d\n", server, client, second)
	}
	for i := range 3 { // from B, for C
		r.Frame(0, wire.Mark{}, []byte(record("B", fmt.Sprint("x", i), 50)), time.Time{})
	}
	say(t, r, "IAMAT y +1+1 50", 51)
	for i := range 3 { // C has them too: dropped, and their slots are kept
		r.Frame(1, wire.Mark{}, []byte(record("B", fmt.Sprint("x", i), 50)), time.Time{})
	}
	ends := r.Ends(nil)
	for i := range 3 { // news again: queued ahead of y
		r.Frame(0, wire.Mark{}, []byte(record("B", fmt.Sprint("x", i), 60)), time.Time{})
	}
	r.SetMaxMessage(len(record("B", "x0", 60)))
	for i := range 3 {
		fill(r, 0)
		if got, want := fill(r, 1), record("B", fmt.Sprint("x", i), 60); got != want {
			t.Fatalf("frame %d to C is %q, want %q", i+1, got, want)
		}
		if r.LivePassed(ends) {
			t.Fatalf("passed after frame %d, and y is queued", i+1)
		}
	}
	if got := fill(r, 1); got != record("A", "y", 50) || !r.LivePassed(ends) {
		t.Errorf("the last frame to C is %q, passed %v, want y's and true", got, r.LivePassed(ends))
	}
}

func TestNewerReplacesQueued(t *testing.T) {
	r := newConnectedPair(0)
	say(t, r, "IAMAT kiwi +1+1 50", 51)
	emu := say(t, r, "IAMAT emu +1+1 50", 51)
	newer := say(t, r, "IAMAT kiwi +1+1 52", 53)
	if got := fill(r, 0); got != newer+"\n"+emu+"\n" {
		t.Errorf("told B %q, want the newer record alone, in its old place", got)
	}
}

func TestMaxClientsBindsClientsOnly(t *testing.T) {
	r := newPair(1)
	say(t, r, "IAMAT kiwi +1+1 50", 51)
	if _, _, err := r.IAmAt(nil, wire.ParseCommand([]byte("IAMAT emu +1+1 50")), time.Unix(51, 0)); err != ErrFull {
		t.Errorf("a second client: %v, want ErrFull", err)
	}
	say(t, r, "IAMAT kiwi +1+1 55", 56)
	if in, _ := r.Frame(0, wire.Mark{}, []byte("AT B +1.000000000 emu +1+1 50"), time.Time{}); in.News != 1 {
		t.Errorf("a neighbour's record was refused: %+v", in)
	}
}

// TestEdgeLife is one edge's story: each step a beat or a tick, and the kinds of
// events that must come of it.
func TestEdgeLife(t *testing.T) {
	start := time.Unix(1000, 0)
	stranger := heartbeatOf(them+1, 0)
	stranger.Topology = 8
	bye := heartbeatOf(them+3, 4)
	bye.Bye = true
	ask := heartbeatOf(them, 0)
	ask.Answer = true
	steps := []struct {
		name   string
		at     time.Duration
		beat   *wire.Heartbeat
		want   string
		answer bool
	}{
		{"first beat", 0, ptr(heartbeatOf(them, 0)), "up", true},
		{"second beat", time.Second, ptr(heartbeatOf(them, 0)), "", false},
		{"asked", time.Second, &ask, "", true},
		{"not silent for long", 3999 * time.Millisecond, nil, "", false},
		{"silent", 4 * time.Second, nil, "down", false},
		{"still silent", 9 * time.Second, nil, "", false},
		{"back, same life", 10 * time.Second, ptr(heartbeatOf(them, 2)), "gap up", true},
		{"another topology", 11 * time.Second, &stranger, "down mismatch", false},
		{"and again", 12 * time.Second, &stranger, "", false},
		{"new life", 13 * time.Second, ptr(heartbeatOf(them+2, 0)), "up", true},
		{"bus disconnected", 13 * time.Second, nil, "down", false},
		{"back on the bus", 13 * time.Second, ptr(heartbeatOf(them+2, 0)), "up", true},
		{"restarted before it was missed", 14 * time.Second, ptr(heartbeatOf(them+3, 0)), "down up", true},
		{"beat tells of lost messages", 15 * time.Second, ptr(heartbeatOf(them+3, 4)), "gap", false},
		{"goodbye", 16 * time.Second, &bye, "down", false},
		{"late answer", 17 * time.Second, ptr(heartbeatOf(them+3, 4)), "", false},
		{"gone, and silent", 30 * time.Second, nil, "", false},
	}
	r := newPair(0)
	for _, s := range steps {
		var events []Event
		var answer bool
		if s.name == "bus disconnected" {
			events = r.Disconnected()
		} else if s.beat != nil {
			s.beat.Clock = wire.InstantOf(start.Add(s.at))
			events, answer = r.HandleHeartbeat(0, *s.beat, start.Add(s.at))
		} else {
			events = r.Tick(start.Add(s.at))
		}
		var kinds []string
		for _, e := range events {
			kinds = append(kinds, string(e.Kind))
			if e.Peer != "B" || e.Text == "" || strings.Contains(e.Text, "\n") {
				t.Errorf("%s: event %+v, want one line about B", s.name, e)
			}
		}
		if got := strings.Join(kinds, " "); got != s.want || answer != s.answer {
			t.Errorf("%s: events %q, answer %v, want %q, %v", s.name, got, answer, s.want, s.answer)
		}
	}
}

func ptr(b wire.Heartbeat) *wire.Heartbeat { return &b }

func TestGaps(t *testing.T) {
	r := newPair(0)
	steps := []struct {
		mark wire.Mark
		beat bool
		lost string
	}{
		{wire.Mark{Epoch: them, Seq: 7}, false, ""}, // first contact
		{wire.Mark{Epoch: them, Seq: 8}, false, ""},
		{wire.Mark{Epoch: them, Seq: 8}, true, ""},
		{wire.Mark{Epoch: them, Seq: 8}, false, ""}, // delivered twice
		{wire.Mark{Epoch: them, Seq: 11}, false, "2 messages of B were lost, the last before number 11"},
		{wire.Mark{Epoch: them, Seq: 9}, false, ""}, // late
		{wire.Mark{Epoch: them, Seq: 12}, true, "1 messages of B were lost, the last before number 12"},
		{wire.Mark{Epoch: them + 1, Seq: 3}, false, ""},
		{wire.Mark{}, false, ""}, // no headers: not counted
		{wire.Mark{Epoch: them + 1, Seq: 4}, false, ""},
	}
	for i, s := range steps {
		var events []Event
		now := time.Unix(1000+int64(i), 0)
		if s.beat {
			events, _ = r.HandleHeartbeat(0, heartbeatOf(s.mark.Epoch, s.mark.Seq), now)
		} else {
			_, events = r.Frame(0, s.mark, nil, now)
		}
		lost := ""
		for _, e := range events {
			if e.Kind == Gap {
				lost = e.Text
			}
		}
		if lost != s.lost {
			t.Errorf("step %d, %+v: gap %q, want %q", i, s.mark, lost, s.lost)
		}
	}
}

// TestManyGaps: losses are told of once a second, all of them.
func TestManyGaps(t *testing.T) {
	r := newPair(0)
	now := time.Unix(1000, 0)
	var told []string
	note := func(events []Event) {
		for _, e := range events {
			told = append(told, e.Text)
		}
	}
	for i := range uint64(100) { // every second message is lost
		_, events := r.Frame(0, wire.Mark{Epoch: them, Seq: 2*i + 1}, nil, now)
		note(events)
	}
	note(r.Tick(now.Add(time.Second)))
	note(r.Tick(now.Add(2 * time.Second)))
	want := []string{"1 messages of B were lost, the last before number 3", "98 messages of B were lost, the last before number 199"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestUnconfirmed(t *testing.T) {
	r := newPair(0)
	now := time.Unix(1000, 0)
	check := func(when string, neighbours int) {
		t.Helper()
		if got := r.Unconfirmed(r.LastSent()); got != neighbours {
			t.Errorf("%s: Unconfirmed = %d, want %d", when, got, neighbours)
		}
	}
	say(t, r, "IAMAT kiwi +1+1 50", 51)
	if up, down := r.Queued(); up != 0 || down != 2 {
		t.Errorf("all down: Queued = %d, %d, want 0, 2", up, down)
	}
	r.HandleHeartbeat(0, heartbeatOf(them, 0), now)
	if up, down := r.Queued(); up != 1 || down != 1 {
		t.Errorf("B up: Queued = %d, %d, want 1, 1", up, down)
	}
	check("B up, nothing sent", 0)
	fill(r, 0)
	check("sent to B", 1)
	old := heartbeatOf(them, 0)
	old.Merged = wire.Mark{Epoch: us - 1, Seq: 9}
	r.HandleHeartbeat(0, old, now)
	check("B merged an earlier life's", 1)
	merged := heartbeatOf(them, 0)
	merged.Merged = wire.Mark{Epoch: us, Seq: 1}
	r.HandleHeartbeat(0, merged, now)
	check("B merged ours", 0)
	if b := r.Heartbeat(0, now); b.Seq != 1 || b.Merged != (wire.Mark{Epoch: them}) || b.Records != 1 {
		t.Errorf("Heartbeat = %+v", b)
	}
	fill(r, 1)
	check("C is down", 0)
}

// FuzzFrame: whatever bytes come over an edge, what is merged is exactly its
// lines that are records, and each of them is told on, verbatim, to all but its
// source.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("AT B +1.000000000 kiwi +1+1 50\nAT B +1.000000000 kiwi +1+1 51\n\njunk\nAT C -0.500000000 \xff +1+1 50"))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := newConnectedPair(0)
		in, _ := r.Frame(0, wire.Mark{}, frame, time.Time{})
		var want store.Map
		records := 0
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			if rec, err := wire.ParseRecord(line); err == nil {
				records++
				want.Merge(rec)
			}
		}
		if got := in.News + in.Duplicates + in.Stale; got != records {
			t.Fatalf("%d of %d records were merged", got, records)
		}
		if back := fill(r, 0); back != "" {
			t.Fatalf("told back to its source: %q", back)
		}
		told := strings.Split(strings.TrimSuffix(fill(r, 1), "\n"), "\n")
		if records == 0 {
			told = nil
		}
		slices.Sort(told)
		if expected := sortedLines(&want); !slices.Equal(told, expected) {
			t.Fatalf("told on %q, want %q", told, expected)
		}
	})
}
