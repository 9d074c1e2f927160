package replica

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"herd/node/store"
	"herd/node/wire"
)

// pair is two replicas and the repair between them, without loss.
type pair struct {
	t     *testing.T
	a, b  *Replica
	now   time.Time
	bytes int // of questions and answers, both ways
	load  int // clients that report to each side between any two messages
}

func newRepairPair(t *testing.T) *pair {
	p := &pair{
		t:   t,
		a:   New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1, Repair: 30 * time.Second}),
		b:   New(Config{Name: "B", Neighbours: []string{"A"}, Epoch: 2, Repair: 30 * time.Second}),
		now: time.Unix(1_700_000_000, 0),
	}
	return p
}

func mergeLine(t testing.TB, r *Replica, line string) {
	rec, err := wire.ParseRecord([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	r.store.Merge(rec)
}

// beats lets each side hear a beat of the other.
func (p *pair) heartbeats() {
	p.a.HandleHeartbeat(0, p.b.Heartbeat(0, p.now), p.now)
	p.b.HandleHeartbeat(0, p.a.Heartbeat(0, p.now), p.now)
}

// settle runs all repairs that are due, and counts their bytes.
func (p *pair) settle() {
	for rounds := 0; ; rounds++ {
		if rounds > 100 {
			p.t.Fatal("one repair makes the next necessary, without end")
		}
		asked := false
		for _, side := range [][2]*Replica{{p.a, p.b}, {p.b, p.a}} {
			_, question, ok := side[0].NextRequest(p.now)
			for asked = asked || ok; question != nil; {
				question = p.exchange(side[0], side[1], question)
			}
		}
		if !asked {
			return
		}
	}
}

// exchange has one question answered and returns the next.
func (p *pair) exchange(asker, teller *Replica, question []byte) (next []byte) {
	p.t.Helper()
	p.bytes += len(question)
	for i := range p.load {
		p.now = p.now.Add(time.Microsecond)
		mergeLine(p.t, p.a, fmt.Sprintf("AT A +1.000000000 a%d +1+1 %d.%09d", i, p.now.Unix(), p.now.Nanosecond()))
		mergeLine(p.t, p.b, fmt.Sprintf("AT B +1.000000000 b%d +1+1 %d.%09d", i, p.now.Unix(), p.now.Nanosecond()))
	}
	if question[0] == byte(wire.RequestLines) && len(question) > asker.frameSize() {
		p.t.Fatalf("a question of %d bytes, with a limit of %d", len(question), asker.frameSize())
	}
	answer, err := teller.HandleRequest(0, question, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	for more := true; more; {
		var message []byte
		if message, more, err = answer.Next(); err != nil {
			p.t.Fatal(err)
		}
		p.bytes += len(message)
		if message[0] == byte(wire.ReplyLines) && len(message) > teller.frameSize() {
			p.t.Fatalf("an answer of %d bytes, with a limit of %d", len(message), teller.frameSize())
		}
		answer.Sent()
		result, err := asker.HandleReply(0, message, p.now)
		if err != nil {
			p.t.Fatal(err)
		}
		next = result.Request
	}
	return next
}

// TestRepairCost: what a repair costs follows the difference and not the map.
func TestRepairCost(t *testing.T) {
	const records = 1_000_000
	p := newRepairPair(t)
	for i := range records {
		line := fmt.Sprintf("AT A +1.000000000 client%d.example +34.068930-118.445127 1700000000", i)
		mergeLine(t, p.a, line)
		mergeLine(t, p.b, line)
	}
	for _, tt := range []struct{ missing, limit int }{{1, 64 << 10}, {1000, 3 << 20}} {
		for i := range tt.missing {
			mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 client%d.example +34.068930-118.445127 17000%05d", i*(records/tt.missing), tt.missing))
		}
		p.a.goDown(0, "")
		p.b.goDown(0, "")
		p.bytes = 0
		p.heartbeats()
		p.settle()
		if p.a.Map().Digest() != p.b.Map().Digest() {
			t.Fatalf("%d missing: the maps still differ", tt.missing)
		}
		t.Logf("%d of %d missing: %d bytes, both directions", tt.missing, records, p.bytes)
		if p.bytes > tt.limit {
			t.Errorf("%d of %d missing cost %d bytes, limit %d", tt.missing, records, p.bytes, tt.limit)
		}
	}
}

// TestRepairBothWays: each side ends with all that either had, also where one had
// nothing, and both are in step; and equal maps cost nothing.
func TestRepairBothWays(t *testing.T) {
	line := func(client, second int) string {
		return fmt.Sprintf("AT A +1.000000000 c%d +1+1 %d", client, 100+second)
	}
	for _, tt := range []struct {
		name string
		a, b []string
	}{
		{"one has nothing", []string{line(1, 0), line(2, 0)}, nil},
		{"the other has nothing", nil, []string{line(1, 0), line(2, 0)}},
		{"each has one more", []string{line(1, 0), line(2, 0)}, []string{line(2, 0), line(3, 0)}},
		{"each has one newer", []string{line(1, 1), line(2, 0)}, []string{line(1, 0), line(2, 1)}},
		{"equal", []string{line(1, 0)}, []string{line(1, 0)}},
		{"both empty", nil, nil},
	} {
		p := newRepairPair(t)
		var want store.Map
		for _, l := range slices.Concat(tt.a, tt.b) {
			rec, err := wire.ParseRecord([]byte(l))
			if err != nil {
				t.Fatal(err)
			}
			want.Merge(rec)
		}
		for _, l := range tt.a {
			mergeLine(t, p.a, l)
		}
		for _, l := range tt.b {
			mergeLine(t, p.b, l)
		}
		p.heartbeats()
		p.settle()
		for _, r := range []*Replica{p.a, p.b} {
			if got := sortedLines(r.Map()); !slices.Equal(got, sortedLines(&want)) || !r.InStep(0) {
				t.Errorf("%s: %s holds %q, in step %v, want %q", tt.name, r.cfg.Name, got, r.InStep(0), sortedLines(&want))
			}
		}
		if slices.Equal(tt.a, tt.b) && p.bytes > 0 {
			t.Errorf("%s: %d bytes of repair", tt.name, p.bytes)
		}
		if p.a.Map().Digest() != want.Digest() {
			t.Errorf("%s: digest %x, of the same records merged otherwise %x", tt.name, p.a.Map().Digest(), want.Digest())
		}
	}
}

// TestCrowdedBucket: clients made up so as to fall into one bucket make its repair
// dearer, and no less sure.
func TestCrowdedBucket(t *testing.T) {
	p := newRepairPair(t)
	crowd := 0
	for i := 0; crowd < 600; i++ {
		client := fmt.Sprintf("c%d", i)
		if xxhash.Sum64String(client)>>52 != 7 { // one of 16 buckets, to be found shortDelay
			continue
		}
		crowd++
		line := fmt.Sprintf("AT A +1.000000000 %s +1+1 100", client)
		mergeLine(t, p.a, line)
		if crowd%2 == 0 {
			mergeLine(t, p.b, line)
		}
	}
	p.a.SetMaxMessage(256) // 600 in 16 buckets are more than a question of such a size holds
	p.b.SetMaxMessage(256)
	p.heartbeats()
	p.settle()
	if p.a.Map().Digest() != p.b.Map().Digest() || p.b.Map().Len() != crowd {
		t.Errorf("B holds %d of %d", p.b.Map().Len(), crowd)
	}
}

// TestMismatchIsRepaired: unequal digests on an edge where nothing changes set off
// a comparison; while either side changes they don't.
func TestMismatchIsRepaired(t *testing.T) {
	p := newRepairPair(t)
	p.heartbeats()
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100") // as if its frame had been lost unnoticed
	for range 2 {
		p.now = p.now.Add(HeartbeatEvery)
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 c2 +1+1 %d", p.now.Unix()))
		p.heartbeats()
		p.settle()
		if p.bytes > 0 {
			t.Fatal("a comparison while the map changed")
		}
	}
	p.now = p.now.Add(HeartbeatEvery)
	p.heartbeats()
	p.settle()
	if p.a.Map().Digest() != p.b.Map().Digest() {
		t.Error("unequal digests on a quiet edge were left")
	}
}

// TestLossUnderLoad: where messages were lost, each side learns what it lacks,
// though the maps never rest, so that digests tell nothing.
func TestLossUnderLoad(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	p.heartbeats()
	p.settle()                                         // they have met
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100") // B lacks it, and nobody says so
	p.a.Lost(0, p.now)
	p.settle()
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok || !p.a.InStep(0) {
		t.Errorf("B knows: %v, A in step: %v, want both", ok, p.a.InStep(0))
	}
}

// TestPeriodic: maps are compared every Repair or so, also where they never rest,
// and a comparison that others ask for does not make the next one due.
func TestPeriodic(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	p.heartbeats()
	p.settle()
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100") // lost on the way to B
	began, compared := p.now, 0
	for p.now.Sub(began) < 3*p.b.cfg.Repair {
		p.now = p.now.Add(HeartbeatEvery)
		for _, r := range []*Replica{p.a, p.b} {
			mergeLine(t, r, fmt.Sprintf("AT A +1.000000000 c2 +1+1 %d", p.now.Unix()))
		}
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 c3 +1+1 %d", p.now.Unix())) // always under way
		before := p.bytes
		p.heartbeats()
		p.settle()
		if p.bytes > before {
			compared++
		}
		if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok && p.now.Sub(began) > p.b.cfg.Repair*5/4+HeartbeatEvery {
			t.Fatal("not compared in time")
		}
	}
	if compared > 8 { // each side, every 22.5 s at the least
		t.Errorf("%d comparisons in %v", compared, p.now.Sub(began))
	}
}

// TestNoStorm: under constant load, with something under way at any moment, repair
// ends.
func TestNoStorm(t *testing.T) {
	p := newRepairPair(t)
	p.load = 20
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	p.heartbeats()
	p.settle()
	p.a.Lost(0, p.now)
	p.settle()
	if !p.a.InStep(0) || !p.b.InStep(0) {
		t.Errorf("in step: A %v, B %v", p.a.InStep(0), p.b.InStep(0))
	}
}

// TestBackoff: a neighbour that does not take what it lacks costs few comparisons.
func TestBackoff(t *testing.T) {
	p := newRepairPair(t)
	p.heartbeats()
	mergeLine(t, p.a, "AT A +1.000000000 c0 +1+1 100")
	asked := 0
	for range 120 {
		p.now = p.now.Add(HeartbeatEvery)
		p.heartbeats()
		_, question, ok := p.a.NextRequest(p.now) // and B never asks
		if ok {
			asked++
		}
		for question != nil {
			question = p.exchange(p.a, p.b, question)
		}
	}
	if asked < 3 || asked > 15 {
		t.Errorf("%d comparisons that brought nothing in two minutes", asked)
	}
}

// TestLossWhileComparing: messages lost while a comparison runs may be what it has
// passed by, so that it does not put us in step; and what we have merged is said
// to end before the gap until it is closed.
func TestLossWhileComparing(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	p.heartbeats()
	_, question, ok := p.b.NextRequest(p.now)
	if !ok {
		t.Fatal("no question")
	}
	p.b.Frame(0, wire.Mark{Epoch: 1, Seq: 1}, nil, p.now)
	p.b.Frame(0, wire.Mark{Epoch: 1, Seq: 5}, nil, p.now)
	p.b.Frame(0, wire.Mark{Epoch: 1, Seq: 6}, nil, p.now)
	for question != nil {
		question = p.exchange(p.b, p.a, question)
	}
	if got := p.b.Heartbeat(0, p.now).Merged; p.b.InStep(0) || got.Seq != 1 {
		t.Errorf("in step %v, merged %v, want neither beyond the gap", p.b.InStep(0), got)
	}
	p.settle()
	if got := p.b.Heartbeat(0, p.now).Merged; !p.b.InStep(0) || got.Seq != 6 {
		t.Errorf("after the next comparison: in step %v, merged %v", p.b.InStep(0), got)
	}
}

// TestRepairedBeforeInStep: what a repair brings while a comparison with another
// neighbour has yet to be made again, that neighbour learns by it: it had compared
// before, and under load no digests would tell it.
func TestRepairedBeforeInStep(t *testing.T) {
	const line = "AT C +1.000000000 c1 +1+1 100"
	for name, bring := range map[string]func(a *Replica){
		"repair": func(a *Replica) { a.mergeReply(1, []byte(line), repaired) },
		"late answer": func(a *Replica) {
			a.HandleReply(1, wire.Sync{Kind: wire.ReplyLines, ID: 99, Body: []byte(line)}.Append(nil), time.Time{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRepairPair(t)
			p.a = New(Config{Name: "A", Neighbours: []string{"B", "C"}, Epoch: 1, Repair: 30 * time.Second})
			for _, r := range []*Replica{p.a, p.b} { // an empty map would ask anyway
				mergeLine(t, r, "AT C +1.000000000 c0 +1+1 100")
			}
			p.heartbeats()
			p.settle()
			p.a.Lost(0, p.now)
			_, question, ok := p.a.NextRequest(p.now)
			if !ok {
				t.Fatal("no question")
			}
			p.a.Lost(0, p.now)
			for question != nil {
				question = p.exchange(p.a, p.b, question)
			}
			if p.a.InStep(0) {
				t.Fatal("in step, though messages were lost meanwhile")
			}
			bring(p.a)
			p.settle()
			f := p.a.NextFrame(0, nil)
			if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok && f.Lines == 0 {
				t.Error("the neighbour neither has it nor is to be told")
			}
		})
	}
}

// TestLateAnswer: the lines of an answer count also when it was given up: whoever
// sent them no longer holds them ready.
func TestLateAnswer(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	p.heartbeats()
	_, question, _ := p.b.NextRequest(p.now)
	question = p.exchange(p.b, p.a, question)
	answer, err := p.a.HandleRequest(0, question, p.now)
	if err != nil {
		t.Fatal(err)
	}
	late, _, err := answer.Next()
	if err != nil {
		t.Fatal(err)
	}
	p.now = p.now.Add(silence)
	p.b.NextRequest(p.now) // gives up
	if _, err := p.b.HandleReply(0, late, p.now); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok {
		t.Error("the lines of a late answer were thrown away")
	}
}

// TestGivenUp: an answer that does not come is given up, and asked for again.
func TestGivenUp(t *testing.T) {
	p := newRepairPair(t)
	mergeLine(t, p.a, "AT A +1.000000000 c1 +1+1 100")
	p.heartbeats()
	if _, _, ok := p.b.NextRequest(p.now); !ok {
		t.Fatal("no question")
	}
	if _, _, ok := p.b.NextRequest(p.now.Add(silence / 2)); ok {
		t.Fatal("a second question while the first is under way")
	}
	p.now = p.now.Add(silence)
	p.b.NextRequest(p.now)
	p.now = p.now.Add(firstBackoff)
	p.settle()
	if _, ok := p.b.Map().Get(nil, []byte("c1")); !ok {
		t.Error("not asked again")
	}
}

// TestReady holds Ready against contract 6.
func TestReady(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	beat := func(ready bool, digest uint64) *wire.Heartbeat {
		return &wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(start), Format: wire.Format, Ready: ready, Digest: digest}
	}
	tests := []struct {
		name   string
		repair time.Duration
		beat   *wire.Heartbeat
		after  time.Duration
		want   bool
	}{
		{"no answer yet", time.Minute, nil, GreetingTimeout - 1, false},
		{"no answer", time.Minute, nil, GreetingTimeout, true},
		{"repair off", 0, nil, 0, true},
		{"equal maps", time.Minute, beat(false, 0), 0, true},
		{"unequal, ready", time.Minute, beat(true, 5), time.Hour, false},
		{"unequal, not ready", time.Minute, beat(false, 5), unreadyTimeout - 1, false},
		{"unequal, not ready for long", time.Minute, beat(false, 5), unreadyTimeout, true},
	}
	for _, tt := range tests {
		r := New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1, Repair: tt.repair})
		if tt.beat != nil {
			r.HandleHeartbeat(0, *tt.beat, start)
		}
		if got := r.Ready(start.Add(tt.after), start); got != tt.want {
			t.Errorf("%s, after %v: Ready = %v, want %v", tt.name, tt.after, got, tt.want)
		}
	}
}

// TestClocks: a neighbour's clock is told of when it is 2 s off, and makes us
// unready at 30 s; beats that were under way for long, or that we took in late
// since we did not run, prove nothing.
func TestClocks(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := New(Config{Name: "A", Neighbours: []string{"B"}, Epoch: 1})
	hear := func(skew time.Duration) (told int) {
		now = now.Add(HeartbeatEvery)
		r.Tick(now)
		events, _ := r.HandleHeartbeat(0, wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(now.Add(skew)), Format: wire.Format}, now)
		for _, e := range events {
			if e.Kind == Clock {
				told++
			}
		}
		return told
	}
	expect := func(when string, skew time.Duration, beats, told int, off bool) {
		t.Helper()
		got := 0
		for range beats {
			got += hear(skew)
		}
		if got != told || (r.ClockProblem() != "") != off {
			t.Errorf("%s: told %d times, off %q, want %d, %v", when, got, r.ClockProblem(), told, off)
		}
	}
	expect("with ours", time.Second, 5, 0, false)
	expect("two late beats", -10*time.Second, 2, 0, false)
	expect("with ours", 0, 3, 0, false)
	expect("3 s behind", -3*time.Second, 5, 1, false)
	expect("back", 0, 3, 1, false)
	expect("40 s ahead", 40*time.Second, 5, 1, true)
	expect("back", 0, 3, 1, false)
	expect("40 s behind", -40*time.Second, 5, 1, true)
	expect("back", 0, 3, 1, false)
	now = now.Add(10 * time.Second) // we were stopped: ten beats have waited, and come before our tick
	for i := range 10 {
		sent := now.Add(time.Duration(i-10) * time.Second)
		if events, _ := r.HandleHeartbeat(0, wire.Heartbeat{Epoch: 9, Clock: wire.InstantOf(sent), Format: wire.Format}, now); slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Clock }) {
			t.Errorf("beat %d that had waited: %v", i, events)
		}
	}
}

// TestReplyKeepsRecordsQueued: a record that a reply carries stays queued until the
// message was sent, and after that if it has changed meanwhile.
func TestReplyKeepsRecordsQueued(t *testing.T) {
	p := newRepairPair(t)
	p.a.HandleHeartbeat(0, p.b.Heartbeat(0, p.now), p.now)
	say(t, p.a, "IAMAT kiwi +1+1 100", 101)
	say(t, p.a, "IAMAT emu +1+1 100", 101)
	p.b.HandleHeartbeat(0, p.a.Heartbeat(0, p.now), p.now)
	_, request, _ := p.b.NextRequest(p.now)
	request = p.exchange(p.b, p.a, request)
	reply, err := p.a.HandleRequest(0, request, p.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := reply.Next(); err != nil {
		t.Fatal(err)
	}
	if n := p.a.edges[0].live.length; n != 2 {
		t.Errorf("%d records are queued before the reply was sent, want 2", n)
	}
	newer := say(t, p.a, "IAMAT kiwi +1+1 102", 103)
	reply.Sent()
	if got := fill(p.a, 0); got != newer+"\n" {
		t.Errorf("queued after the reply was sent: %q, want %q", got, newer+"\n")
	}
}
