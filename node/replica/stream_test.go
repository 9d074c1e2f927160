package replica

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"herd/node/follow"
	"herd/node/wire"
)

// streamed is a replica without neighbours, and a follower of it.
type streamed struct {
	r        *Replica
	filter   *follow.Filter
	follower *follow.Follower
	now      time.Time
	streams  int               // that the follower has opened
	changes  []string          // since receive returned them
	told     map[string]string // what all changes together say, by client
}

func newStreamed(t testing.TB, request string) *streamed {
	s := &streamed{r: New(Config{Name: "A", Epoch: 7}), now: time.Unix(1_700_000_000, 0)}
	s.follow(t, request)
	return s
}

// follow makes the follower, with a stream.
func (s *streamed) follow(t testing.TB, request string) {
	t.Helper()
	parsed, err := follow.Parse([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	s.filter = follow.NewFilter(parsed)
	s.follower = follow.NewFollower(s.filter)
	s.open(t)
}

func (s *streamed) id() string { return fmt.Sprint(s.streams) }

// open opens the follower's next stream.
func (s *streamed) open(t testing.TB) {
	s.streams++
	if err := s.r.OpenStream(StreamConfig{ID: s.id(), To: "inbox", Filter: s.filter}, s.now); err != nil {
		t.Fatal(err)
	}
}

// report makes a client report, and returns its record.
func (s *streamed) report(client, location string) string {
	s.now = s.now.Add(time.Microsecond)
	at := fmt.Sprintf("%d.%06d", s.now.Unix(), s.now.Nanosecond()/1000)
	line, _, err := s.r.IAmAt(nil, wire.ParseCommand([]byte("IAMAT "+client+" "+location+" "+at)), s.now)
	if err != nil {
		panic(err)
	}
	return string(line)
}

// frames is all frames that are due.
func (s *streamed) frames() (frames []StreamFrame) {
	for {
		f, due := s.r.NextStreamFrame(nil, s.now)
		if f.Mark != (wire.Mark{}) {
			frames = append(frames, f)
		} else if due.After(s.now) {
			return frames
		}
	}
}

// deliver hands a frame to the follower.
func (s *streamed) deliver(f StreamFrame) error {
	return s.follower.Frame(f.Mark, f.SnapshotEnd, f.Data, func(c follow.Change) {
		if s.told == nil {
			s.told = map[string]string{}
		}
		if _, known := s.told[c.Client]; known == (c.Kind == follow.Enter) {
			panic(fmt.Sprintf("%s of client %s, which the follower knows: %v", c.Kind, c.Client, known))
		}
		if s.told[c.Client] = c.Line; c.Kind == follow.Leave {
			delete(s.told, c.Client)
		}
		s.changes = append(s.changes, strings.TrimSpace(fmt.Sprint(c.Kind, " ", c.Client, " ", c.Line)))
	})
}

// receive delivers and confirms all that is due, and returns the changes since the last call.
func (s *streamed) receive(t testing.TB) (changes []string) {
	t.Helper()
	for frames := s.frames(); len(frames) > 0; frames = s.frames() {
		for _, f := range frames {
			if err := s.deliver(f); err != nil {
				t.Fatal(err)
			}
			s.r.ConfirmStream(s.id(), f.Mark.Seq, s.now)
		}
	}
	changes, s.changes = s.changes, nil
	return changes
}

// want is what the follower must know.
func (s *streamed) want() map[string]string {
	want := map[string]string{}
	for line := range s.r.Map().Lines() {
		rec, _ := wire.ParseRecord([]byte(line))
		if rec.IsTombstone() {
			continue
		}
		if s.filter.Named(rec.Client()) && (!s.filter.ByArea() || s.filter.Inside(rec.Position())) {
			want[string(rec.Client())] = line
		}
	}
	return want
}

// TestFollowerHasTheMap: whatever is reported, lost and confirmed late, in the end the follower has the
// records that match.
func TestFollowerHasTheMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		request := rapid.SampledFrom([]string{
			``, `{"clients":["c1","c5","c77"]}`, `{"prefix":"c1"}`, `{"near":{"lat":0,"lon":0,"km":500},"interval":"10ms"}`,
			`{"box":{"south":-3,"west":2,"north":3,"east":-2}}`, `{"clients":["c1","c2"],"prefix":"c2","near":{"lat":0,"lon":0,"km":500}}`,
		}).Draw(rt, "request")
		s := &streamed{r: New(Config{Name: "A", Epoch: 7}), now: time.Unix(1_700_000_000, 0)}
		s.r.SetMaxMessage(rapid.SampledFrom([]int{200, messageSize}).Draw(rt, "max message"))
		report := func(rt *rapid.T) {
			client := fmt.Sprintf("c%d", rapid.IntRange(0, 80).Draw(rt, "client"))
			s.report(client, fmt.Sprintf("%+d%+d", rapid.IntRange(-5, 5).Draw(rt, "lat"), rapid.IntRange(-5, 5).Draw(rt, "lon")))
		}
		for range rapid.IntRange(0, 60).Draw(rt, "before") {
			report(rt)
		}
		s.follow(t, request)
		var last uint64
		restart := func(*rapid.T) {
			s.r.EndStream(s.id())
			s.follower.Restart()
			s.open(t)
			last = 0
		}
		rt.Repeat(map[string]func(*rapid.T){
			"report":  report,
			"report2": report,
			"forget": func(rt *rapid.T) {
				s.now = s.now.Add(time.Microsecond)
				s.r.Forget(nil, fmt.Appendf(nil, "c%d", rapid.IntRange(0, 80).Draw(rt, "client")), s.now)
			},
			"frames": func(rt *rapid.T) {
				for _, f := range s.frames() {
					last = f.Mark.Seq
					if err := s.deliver(f); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"lost": func(rt *rapid.T) {
				frames := s.frames()
				if len(frames) == 0 {
					return
				}
				for _, f := range frames[1:] {
					if s.deliver(f) == nil {
						rt.Fatalf("frame %d is accepted, although one before it was lost", f.Mark.Seq)
					}
				}
				restart(rt)
			},
			"confirm": func(rt *rapid.T) { s.r.ConfirmStream(s.id(), last, s.now) },
			"wait": func(rt *rapid.T) {
				s.now = s.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(rt, "ms")) * time.Millisecond)
			},
			"restart": restart,
		})
		for range 3 {
			s.now = s.now.Add(time.Second)
			s.r.ConfirmStream(s.id(), last, s.now)
			s.receive(t)
		}
		if want := s.want(); !s.follower.Complete() || !maps.Equal(s.follower.Records(), want) {
			rt.Fatalf("the follower (complete: %v) has %v, want %v", s.follower.Complete(), s.follower.Records(), want)
		} else if !maps.Equal(s.told, want) {
			rt.Fatalf("the changes say %v, want %v", s.told, want)
		}
	})
}

// TestStreamSnapshot: the snapshot comes first, and an empty map has one, too.
func TestStreamSnapshot(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, "")
	frames := s.frames()
	if len(frames) != 1 || !frames[0].SnapshotEnd || frames[0].Lines != 0 || frames[0].Mark != (wire.Mark{Epoch: 7, Seq: 1}) || frames[0].To != "inbox" {
		t.Fatalf("frames of an empty map = %+v, want one without lines that ends the snapshot", frames)
	}
	line := s.report("kiwi", "+1+1")
	s.now = s.now.Add(time.Second)
	if frames = s.frames(); len(frames) != 1 || frames[0].SnapshotEnd || string(frames[0].Data) != line+"\n" || frames[0].Mark.Seq != 2 {
		t.Fatalf("frames of a change = %+v", frames)
	}
}

// TestStreamInterval: the first change leaves at once, further ones after the interval, of each client the newest.
func TestStreamInterval(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, `{"interval":"100ms"}`)
	s.receive(t)
	s.now = s.now.Add(150 * time.Millisecond)
	first := s.report("kiwi", "+1+1")
	if got := s.receive(t); fmt.Sprint(got) != fmt.Sprint([]string{"enter kiwi " + first}) {
		t.Fatalf("changes at once = %q", got)
	}
	s.report("kiwi", "+2+2")
	newest := s.report("kiwi", "+3+3")
	if got := s.receive(t); len(got) > 0 {
		t.Fatalf("changes before the interval is over = %q", got)
	}
	if _, due := s.r.NextStreamFrame(nil, s.now); due.Sub(s.now) < 90*time.Millisecond || due.Sub(s.now) > 100*time.Millisecond {
		t.Fatalf("the next frame is due in %v", due.Sub(s.now))
	}
	s.now = s.now.Add(100 * time.Millisecond)
	if got := s.receive(t); fmt.Sprint(got) != fmt.Sprint([]string{"move kiwi " + newest}) {
		t.Fatalf("changes after the interval = %q", got)
	}
}

// TestOnStream: the owner is called when the first client waits, when a stream is opened, and when a
// confirmation may let more leave.
func TestOnStream(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, "")
	calls := 0
	s.r.cfg.OnStream = func() { calls++ }
	expect := func(what string, want int) {
		t.Helper()
		if calls != want {
			t.Errorf("%s: %d calls, want %d", what, calls, want)
		}
		calls = 0
	}
	s.frames()
	s.report("kiwi", "+1+1")
	expect("the first change", 1)
	s.report("emu", "+1+1")
	expect("a second one", 0)
	s.now = s.now.Add(time.Second)
	s.frames()
	s.report("kiwi", "+2+2")
	expect("the first change after a frame", 1)
	s.r.ConfirmStream(s.id(), 1, s.now)
	expect("a confirmation", 1)
	s.open(t)
	expect("a new stream", 1)
}

// TestStreamArea: a client enters, moves, leaves, and is not mentioned outside.
func TestStreamArea(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, `{"near":{"lat":0,"lon":0,"km":200},"interval":"10ms"}`)
	s.receive(t)
	for _, step := range []struct{ location, want string }{
		{"+9+9", ""}, {"+1+1", "enter"}, {"+1+0", "move"}, {"+9+9", "leave"}, {"+8+8", ""}, {"+0+0", "enter"},
	} {
		s.now = s.now.Add(20 * time.Millisecond)
		line := s.report("kiwi", step.location)
		want := "[]"
		if step.want != "" {
			want = fmt.Sprintf("[%s kiwi %s]", step.want, line)
		}
		if got := s.receive(t); fmt.Sprint(got) != want {
			t.Errorf("changes at %s = %v, want %s", step.location, got, want)
		}
	}
}

// TestStreamForget: a follower is told that a client is unknown, and again of its next report; a snapshot has no
// clients that are unknown, and a dump has their tombstones.
func TestStreamForget(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, `{"interval":"10ms"}`)
	s.report("kiwi", "+1+1")
	s.receive(t)
	expect := func(want ...string) {
		t.Helper()
		s.now = s.now.Add(20 * time.Millisecond)
		if got := s.receive(t); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("changes = %q, want %q", got, want)
		}
	}
	tombstone, err := s.r.Forget(nil, []byte("kiwi"), s.now)
	if err != nil {
		t.Fatal(err)
	}
	expect("leave kiwi")
	s.r.EndStreams()
	s.follow(t, "")
	expect()
	if err := s.r.OpenStream(StreamConfig{ID: "d", To: "inbox", Filter: s.filter, Dump: true}, s.now); err != nil {
		t.Fatal(err)
	}
	if f := s.frames(); len(f) != 1 || string(f[0].Data) != string(tombstone)+"\n" {
		t.Errorf("frames of a dump = %+v, want the tombstone %q", f, tombstone)
	}
	s.now = s.now.Add(time.Second)
	line := s.report("kiwi", "+2+2")
	expect("enter kiwi " + line)
}

// TestStreamWindow: a follower that confirms nothing is sent a megabyte, and then only heartbeats. When it
// confirms, it gets the newest records.
func TestStreamWindow(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, "")
	for i := range 40_000 {
		s.report(fmt.Sprintf("client%d", i), "+1.000000+1.000000")
	}
	frames, size := s.frames(), 0
	for _, f := range frames {
		size += len(f.Data)
		if err := s.deliver(f); err != nil {
			t.Fatal(err)
		}
	}
	if size > streamWindow || size < streamWindow-messageSize {
		t.Fatalf("%d bytes are sent without a confirmation, want up to %d", size, streamWindow)
	}
	last := frames[len(frames)-1].Mark
	for i := range 40_000 {
		s.report(fmt.Sprintf("client%d", i), "+2.000000+2.000000")
	}
	for range 3 {
		s.now = s.now.Add(time.Second)
		if frames = s.frames(); len(frames) != 1 || frames[0].Lines != 0 || frames[0].Mark != last {
			t.Fatalf("frames of a follower that confirms nothing = %+v, want one heartbeat a second", frames)
		}
	}
	if _, blocked := s.r.Streams(); blocked != 1 {
		t.Errorf("%d streams are blocked, want 1", blocked)
	}
	s.r.ConfirmStream(s.id(), last.Seq, s.now)
	s.receive(t)
	s.now = s.now.Add(time.Second)
	s.receive(t)
	if !maps.Equal(s.follower.Records(), s.want()) {
		t.Error("the follower has not all newest records")
	}
}

// TestStreamLease: a stream ends 30 s after its follower's last request.
func TestStreamLease(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, "")
	heartbeats := func(seconds int) (frames int) {
		for range seconds {
			s.now = s.now.Add(time.Second)
			frames += len(s.frames())
		}
		return frames
	}
	s.frames()
	heartbeats(29)
	if !s.r.ConfirmStream(s.id(), 1, s.now) || heartbeats(29) != 29 || s.count() != 1 {
		t.Fatal("the stream has ended, although the follower has confirmed a frame")
	}
	if heartbeats(10) > 1 || s.count() != 0 || s.r.ConfirmStream(s.id(), 1, s.now) {
		t.Fatal("the stream lives on without its follower")
	}
}

// TestDump: a dump ends with the end of its snapshot.
func TestDump(t *testing.T) {
	t.Parallel()
	s := &streamed{r: New(Config{Name: "A", Epoch: 7}), now: time.Unix(1_700_000_000, 0)}
	line := s.report("kiwi", "+1+1")
	all := follow.NewFilter(follow.Request{})
	if err := s.r.OpenStream(StreamConfig{ID: "d", To: "inbox", Filter: all, Dump: true}, s.now); err != nil {
		t.Fatal(err)
	}
	if f := s.frames(); len(f) != 1 || string(f[0].Data) != line+"\n" || !f[0].SnapshotEnd {
		t.Fatalf("frames of a dump = %+v", f)
	}
	s.report("kiwi", "+2+2")
	s.now = s.now.Add(2 * time.Second)
	if f := s.frames(); len(f) != 0 || s.count() != 0 {
		t.Fatalf("a dump that is complete sends %+v", f)
	}
}

// TestOpenStreamLimits: no more streams than MaxStreams, and each ID once.
func TestOpenStreamLimits(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, "")
	cfg := StreamConfig{ID: s.id(), Filter: s.filter}
	if err := s.r.OpenStream(cfg, s.now); !errors.Is(err, ErrStreamExists) {
		t.Errorf("a second stream of one ID: %v", err)
	}
	for s.count() < MaxStreams {
		s.open(t)
	}
	cfg.ID = "one more"
	if err := s.r.OpenStream(cfg, s.now); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("stream %d: %v", MaxStreams+1, err)
	}
	if !s.r.EndStream("1") || s.r.EndStream("1") {
		t.Error("a stream does not end once")
	}
	if err := s.r.OpenStream(cfg, s.now); err != nil {
		t.Errorf("a stream in place of one that has ended: %v", err)
	}
}

// count is the number of streams.
func (s *streamed) count() int {
	open, _ := s.r.Streams()
	return open
}

// TestConfirmationAhead: a confirmation of frames that were not sent yet is ignored, so that the window stays full.
func TestConfirmationAhead(t *testing.T) {
	s := newStreamed(t, "")
	for i := range 2 * streamWindow / 1000 {
		s.report(fmt.Sprint("client", i, strings.Repeat("x", 1000)), "+1+1")
	}
	sent := 0
	for range 3 {
		for _, f := range s.frames() {
			sent += len(f.Data)
		}
		s.r.ConfirmStream(s.id(), 1<<63, s.now)
	}
	if sent > streamWindow {
		t.Errorf("%d bytes are sent and not confirmed, want %d at most", sent, streamWindow)
	}
}
