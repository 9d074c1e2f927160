package replica

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/follow"
	"herd/node/store"
	"herd/node/wire"
)

// The times of a simulation in which records expire: much shorter than real ones.
const (
	simKeep  = 20 * time.Second
	simSlot  = 2 // seconds
	simGrace = 4 // seconds
)

// simKeeper is what a simulated server has beside its map while records expire: a journal and a follower, which
// lives on when the server restarts.
type simKeeper struct {
	began    bool // BeginExpiry was called
	journal  []string
	follower *follow.Follower
	filter   *follow.Filter
	streams  int // that it has opened
}

// keptSkew is the step in which the clocks of servers differ. In some herds they differ by more than simGrace.
func (h *herd) keptSkew(seed uint64) (step time.Duration) {
	if step = 300 * time.Millisecond; seed%4 == 3 {
		step = 1500 * time.Millisecond
	}
	h.differ = 3*step + 2*time.Second + time.Second // the last for receipts after a clock was set back
	return step
}

// restartKeeper is called for a server that was just made.
func (h *herd) restartKeeper(s *simServer) {
	s.keep.slot, s.keep.grace = simSlot, simGrace
	if s.jump.Abs() > 2*time.Second { // one that starts alone trusts its clock
		s.jump = 0
	}
	s.keeper.began = false
	if s.keeper.follower == nil {
		request := []string{"{}", `{"prefix":"c1"}`, `{"clients":["c0-0","c1-1","c2-2"]}`}[h.rng.IntN(3)]
		parsed, err := follow.Parse([]byte(request))
		if err != nil {
			h.t.Fatal(err)
		}
		s.keeper.filter = follow.NewFilter(parsed)
		s.keeper.follower = follow.NewFollower(s.keeper.filter)
	}
}

// otherJumped reports whether the clock of another server is far off, or was, so that its receipts still are.
func (h *herd) otherJumped(s *simServer) bool {
	return slices.ContainsFunc(h.servers, func(other *simServer) bool {
		return other != s && other.reading(h.now).Sub(wire.InstantOf(h.now)).Duration().Abs() > h.differ
	})
}

// keptReport is a report of a client. Each name is used for 15 s, and again 30 s later, when its records have expired.
func (h *herd) keptReport() string {
	at := h.now.Unix() + h.rng.Int64N(20) - 10
	if h.rng.IntN(10) == 0 {
		at += (h.rng.Int64N(3) - 1) * 1000
	}
	return fmt.Sprintf("IAMAT c%d-%d +%d-1 %d", h.rng.IntN(8), h.now.Unix()/15%3, h.rng.IntN(90), at)
}

// expire does what a server does each second about its records, its journal and its follower.
func (h *herd) expire(i int) {
	s, now := h.servers[i], h.clock(i)
	if !s.keeper.began && s.Ready(now, s.greeted) {
		s.BeginExpiry(now)
		s.keeper.began = true
	}
	before := map[string]bool{}
	for line := range s.Map().Lines() {
		before[line] = true
	}
	for parts := 0; s.Expire(1 + h.rng.IntN(20)); parts++ {
		if parts > 10_000 {
			h.t.Fatalf("%s: expiry does not end", s.name)
		}
		if h.reporting && h.rng.IntN(5) == 0 { // something happens between two parts
			h.report()
		}
	}
	for line := range before {
		h.checkNotEarly(s, line)
	}
	lines := journalLines(s, 400)
	ok := h.rng.IntN(10) > 0
	if ok {
		s.keeper.journal = append(s.keeper.journal, lines...)
	}
	s.JournalDone(ok)
	if unsaved := s.Unjournalled(); unsaved > s.Map().Len() {
		h.t.Fatalf("%s: %d records of %d wait for the journal", s.name, unsaved, s.Map().Len())
	}
	h.follow(s, now)
}

// journalLines is the next lines for a server's journal, about limit bytes at most.
func journalLines(s *simServer, limit int) []string {
	data, n := s.NextJournalLines(nil, limit)
	return strings.Split(string(data), "\n")[:n]
}

// checkNotEarly checks the age of a record that has left the map or is marked as expired. It must be more than simKeep, less
// the difference of the clocks.
func (h *herd) checkNotEarly(s *simServer, line string) {
	rec := mustParse(h.t, line)
	if age := wire.InstantOf(h.now).Sub(rec.Receipt).Duration(); age > simKeep-h.differ {
		return
	}
	id, held := s.Map().Find(rec.Client())
	if !held || string(s.Map().Line(id)) == line && s.Map().IsExpired(id) {
		h.t.Fatalf("%s let %q expire at %v, cutoff %v, floor %v", s.name, line, wire.InstantOf(h.now), s.keep.cutoff, s.keep.floor*simSlot)
	}
}

// follow carries what a server sends its follower.
func (h *herd) follow(s *simServer, now time.Time) {
	k := &s.keeper
	id := fmt.Sprint(k.streams)
	if s.stream(id) == nil { // the server has restarted, or ended it
		k.streams++
		id = fmt.Sprint(k.streams)
		k.follower.Restart()
		if err := s.OpenStream(StreamConfig{ID: id, To: "inbox", Filter: k.filter}, now); err != nil {
			h.t.Fatal(err)
		}
	}
	if h.reporting && h.rng.IntN(3) > 0 {
		s.stream(id).lease = now.Add(streamLease) // it lives, and gets nothing for a while
		return
	}
	for f, _ := s.NextStreamFrame(nil, now); f.Mark != (wire.Mark{}); f, _ = s.NextStreamFrame(nil, now) {
		if err := k.follower.Frame(f.Mark, f.SnapshotEnd, f.Data, func(follow.Change) {}); err != nil {
			h.t.Fatal(err)
		}
		s.ConfirmStream(id, f.Mark.Seq, now)
	}
}

// checkFollower checks that a follower knows the records that it asked for, and no others.
func (h *herd) checkFollower(s *simServer) {
	want := map[string]string{}
	for id := range s.Map().End() {
		if !s.Map().Holds(id) || !s.Map().IsKnown(id) {
			continue
		}
		if client, _ := s.Map().ClientAndLocation(id); !s.keeper.filter.ByName() || s.keeper.filter.Named(client) {
			want[string(client)] = string(s.Map().Line(id))
		}
	}
	if got := s.keeper.follower.Records(); !maps.Equal(got, want) {
		h.t.Fatalf("the follower of %s has\n%q\nwant\n%q", s.name, got, want)
	}
}

// TestSimulationKeep: records expire while messages are lost, servers restart and stop running, and clocks jump. No
// record expires early. When the faults have ended, all maps become equal, and hold the winners of all records that have
// not expired. Later no map has a record that is older than simKeep and what removing it may take. Journals and followers
// hold what they should.
func TestSimulationKeep(t *testing.T) {
	for name, graph := range graphs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var simulated time.Duration
			var total ExpiryInfo
			herds := max(cmp.Or(*seeds, defaultSeeds/4)/len(graphs), 1)
			for seed := *firstSeed; seed < *firstSeed+uint64(herds); seed++ {
				edges, n := graph(rand.New(rand.NewPCG(seed, 1)))
				h := newHerd(t, seed, edges, n, "keep")
				began := h.now
				h.runKeep(seed)
				simulated += h.now.Sub(began)
				for _, s := range h.servers {
					info := s.Expiry()
					total.Expired, total.Removed = total.Expired+info.Expired, total.Removed+info.Removed
				}
			}
			t.Logf("%d herds, %v simulated, %d records expired, %d were removed", herds, simulated.Round(time.Second), total.Expired, total.Removed)
			if total.Removed == 0 {
				t.Error("no record was removed")
			}
		})
	}
}

func (h *herd) runKeep(seed uint64) {
	defer func() {
		if h.t.Failed() {
			h.t.Logf("seed %d", seed)
		}
	}()
	for range 50 {
		h.step(20 * time.Millisecond)
	}
	h.reporting = true
	for range 500 {
		if h.rng.IntN(3) == 0 {
			h.report()
		}
		if h.rng.IntN(20) == 0 {
			h.forget()
		}
		if h.rng.IntN(40) == 0 {
			h.disturb()
		}
		h.step(300 * time.Millisecond)
	}
	h.reporting, h.faults = false, false
	clear(h.cut)
	for _, s := range h.servers {
		s.paused, s.jump = time.Time{}, 0
	}
	for i, s := range h.servers {
		if s.reading(h.clock(i)).Sub(s.wall(h.clock(i))).Duration() > 2*time.Second { // its log asks for that
			s.keeper.journal = sortedLines(s.Map())
			h.restart(i, s.keeper.journal)
		}
	}
	var all store.Map
	if h.rng.IntN(2) == 0 {
		h.restartAll(&all)
	}
	h.merge(&all)
	h.settle(seed)
	for !h.settled() || h.now.Sub(h.healed) < 6*time.Second { // clocks are compared again, and slots leave all maps
		h.step(100 * time.Millisecond)
	}
	h.merge(&all)
	for line := range all.Lines() {
		h.checkWinner(line)
	}
	end := h.now.Add(simKeep + (2*simSlot+simGrace+3)*time.Second + h.differ)
	for h.now.Before(end) || !h.settled() {
		if h.now.Sub(end) > time.Minute {
			h.t.Fatalf("not settled after all have expired:\n%s", h.describe())
		}
		h.step(time.Second)
	}
	for _, s := range h.servers {
		h.checkFollower(s)
		for line := range s.Map().Lines() {
			if age := wire.InstantOf(h.now).Sub(mustParse(h.t, line).Receipt).Duration(); age > simKeep+(simSlot+simGrace+3)*time.Second+h.differ {
				h.t.Fatalf("%s has %q, whose age is %v", s.name, line, age)
			}
		}
		if known, all := s.Map().Known(), s.Map().Len(); all < known || len(s.keep.expired) == 0 && s.store.Expired() != 0 {
			h.t.Fatalf("%s: %d records, %d known, %d wait to be removed", s.name, all, known, s.store.Expired())
		}
		if ids := s.Map().End(); ids > 200 {
			h.t.Fatalf("%s: %d IDs for at most 24 clients", s.name, ids)
		}
	}
}

// restartAll restarts all servers at once with what their journals have, which is all that they hold. The journals have records
// that have expired, too: of some of these clients there are newer records, which rank lower.
func (h *herd) restartAll(all *store.Map) {
	for _, s := range h.servers {
		s.keeper.journal = append(s.keeper.journal, journalLines(s, math.MaxInt)...)
		s.JournalDone(true)
	}
	h.merge(all)
	for i, s := range h.servers {
		h.restart(i, s.keeper.journal)
	}
}

// checkWinner checks that all servers hold the winner of all records of a client, unless that may have expired.
func (h *herd) checkWinner(line string) {
	rec := mustParse(h.t, line)
	if wire.InstantOf(h.now).Sub(rec.Receipt).Duration() > simKeep-h.differ {
		return
	}
	for _, s := range h.servers {
		if id, held := s.Map().Find(rec.Client()); !held || string(s.Map().Line(id)) != line {
			h.t.Fatalf("%s does not hold %q, the winner of all records", s.name, line)
		}
	}
}
