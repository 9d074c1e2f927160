package replica

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/store"
)

// defaultSeeds is fewer under the race detector.
var defaultSeeds = 1000

var (
	seeds     = flag.Int("seeds", 0, "number of herds to simulate, over all graphs and modes; 0 for the default")
	firstSeed = flag.Uint64("seed", 0, "first seed; with -seeds=1, the seed to replay")
)

// settled reports whether nothing is queued, in transit or delayed, all servers have the
// newest topology, all edges are in step and all maps are equal, those of excluded servers
// apart.
func (h *herd) settled() bool {
	digests := map[uint64]bool{}
	for i, s := range h.servers {
		if h.excluded(i) {
			continue
		}
		digests[s.Map().Digest()] = true
		if s.graph != len(h.graphs)-1 || s.Delaying() {
			return false
		}
		for e := range s.Edges() {
			if peer := s.Peer(e); peer != "" && !h.excluded(number(peer)) && (s.edges[e].queued() > 0 || !s.InStep(e)) {
				return false
			}
		}
	}
	return len(digests) == 1 && h.smallAgrees()
}

// disturb makes one thing go wrong: a link is cut, in one or both directions, or healed; a
// server restarts, with some or none of its records; its process is suspended; its clock
// jumps; or the topology changes, which each server learns at another time.
func (h *herd) disturb() {
	newest := h.graphs[len(h.graphs)-1]
	d := newest[h.rng.IntN(len(newest))]
	if h.rng.IntN(2) == 0 {
		d = [2]int{d[1], d[0]}
	}
	back := [2]int{d[1], d[0]}
	s := h.servers[d[0]]
	switch h.rng.IntN(12) {
	case 0:
		s.keeper.journal = nil
		h.restart(d[0], nil)
	case 1:
		lines := slices.Sorted(s.Map().Lines())
		h.rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		lines = lines[:h.rng.IntN(len(lines)+1)]
		if h.keep {
			lines = s.keeper.journal
		}
		h.restart(d[0], lines)
	case 2:
		s.paused = h.now.Add(time.Duration(h.rng.Int64N(int64(8 * time.Second))))
	case 3:
		s.jump = time.Duration(h.rng.IntN(5)-2) * []time.Duration{time.Second, time.Minute, 300 * 24 * time.Hour}[h.rng.IntN(3)]
		if h.keep && s.jump.Abs() > 2*time.Second && (h.otherJumped(s) || s.lastTick.IsZero()) {
			s.jump = 0 // two wrong clocks may agree, and what was before the start cannot be seen
		}
	case 4:
		h.changeTopology()
	case 5, 6:
		if h.running(d[0]) {
			h.adopt(d[0])
		}
	case 7, 8:
		h.cut[d] = !h.cut[d]
	default:
		cut := !h.cut[d]
		h.cut[d], h.cut[back] = cut, cut
	}
}

// changeTopology adds an edge to the newest topology, or removes one without which it is
// still connected. No server learns of it yet.
func (h *herd) changeTopology() {
	n := len(h.servers)
	edges := slices.Clone(h.graphs[len(h.graphs)-1])
	if i := h.rng.IntN(len(edges)); h.rng.IntN(2) == 0 && connected(slices.Delete(slices.Clone(edges), i, i+1), n) &&
		h.restConnected(slices.Delete(slices.Clone(edges), i, i+1)) {
		edges = slices.Delete(edges, i, i+1)
	} else if a, b := h.rng.IntN(n), h.rng.IntN(n); a != b && !slices.Contains(edges, [2]int{a, b}) && !slices.Contains(edges, [2]int{b, a}) {
		edges = append(edges, [2]int{a, b})
	}
	h.graphs = append(h.graphs, edges)
}

// connected reports whether edges connect n servers.
func connected(edges [][2]int, n int) bool {
	group := make([]int, n)
	for i := range group {
		group[i] = i
	}
	for _, e := range edges {
		from, to := group[e[0]], group[e[1]]
		for i := range group {
			if group[i] == from {
				group[i] = to
			}
		}
	}
	return len(slices.Compact(group)) == 1
}

// excluded reports whether server i need not have what the others have: it is hostile, or
// its map is too small.
func (h *herd) excluded(i int) bool { return i == h.hostile || i == h.small }

// restConnected reports whether edges connect the servers that are not excluded.
func (h *herd) restConnected(edges [][2]int) bool {
	first := slices.IndexFunc(h.servers, func(s *simServer) bool { return !h.excluded(number(s.name)) })
	rest := slices.DeleteFunc(slices.Clone(edges), func(e [2]int) bool { return h.excluded(e[0]) || h.excluded(e[1]) })
	for i := range h.servers {
		if h.excluded(i) { // it counts as connected
			rest = append(rest, [2]int{first, i})
		}
	}
	return connected(rest, len(h.servers))
}

// merge merges all records that servers hold now.
func (h *herd) merge(into *store.Map) {
	for i, s := range h.servers {
		if i == h.hostile {
			continue
		}
		for line := range s.Map().Lines() {
			into.Merge(mustParse(h.t, line))
		}
	}
}

var graphs = map[string]func(*rand.Rand) ([][2]int, int){
	"goloman": func(*rand.Rand) ([][2]int, int) {
		return [][2]int{{0, 1}, {0, 2}, {0, 4}, {1, 4}, {2, 3}, {2, 4}}, 5
	},
	"riley": func(*rand.Rand) ([][2]int, int) {
		return [][2]int{{0, 1}, {0, 2}, {4, 1}, {4, 2}, {4, 3}, {2, 3}}, 5
	},
	"random": randomGraph,
}

// TestSimulation: after all faults have ended and all servers have the same topology, all
// maps soon become equal, byte for byte, and hold the winner for each client of all
// records that any running server held. The same holds for the others if one server is
// hostile, and none of them puts another one of them into quarantine; and while the map of
// one server is full, and for all once that server has room. Without faults, no record
// crosses an edge twice in one direction, and no repair is needed.
func TestSimulation(t *testing.T) {
	for name, graph := range graphs {
		for mode, share := range map[string]int{"faultless": 1, "faults": 3, "hostile": 1} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				herds := max(cmp.Or(*seeds, defaultSeeds)*share/5/len(graphs), 1)
				var simulated time.Duration
				for seed := *firstSeed; seed < *firstSeed+uint64(herds); seed++ {
					edges, n := graph(rand.New(rand.NewPCG(seed, 1)))
					h := newHerd(t, seed, edges, n, mode)
					began := h.now
					h.run(seed)
					simulated += h.now.Sub(began)
				}
				t.Logf("%d herds, %v simulated", herds, simulated.Round(time.Second))
			})
		}
	}
}

// run simulates: first reports, and faults if set, and then quiet until the herd has
// settled.
func (h *herd) run(seed uint64) {
	for range 50 { // until all edges are up
		h.step(20 * time.Millisecond)
	}
	h.reporting = true
	for range 400 {
		if h.rng.IntN(3) == 0 {
			h.report()
		}
		if h.rng.IntN(20) == 0 {
			h.forget()
		}
		if h.faults && h.rng.IntN(40) == 0 {
			h.disturb()
		}
		if h.hostile != nobody && h.rng.IntN(10) == 0 {
			h.misbehave()
		}
		h.step(200 * time.Millisecond)
	}
	h.reporting = false
	clear(h.cut)
	faults := h.faults
	h.faults = false
	for _, s := range h.servers {
		s.paused, s.jump = time.Time{}, 0
	}
	var all store.Map // what servers hold now, and what was still on its way to them
	h.merge(&all)
	h.settle(seed)
	if h.small != nobody {
		h.enlarge()
		h.settle(seed)
	}
	for i := range h.servers {
		h.checkConduct(i)
	}
	h.merge(&all)
	want := sortedLines(&all)
	for i, s := range h.servers {
		if i == h.hostile {
			continue
		}
		if got := sortedLines(s.Map()); !slices.Equal(got, want) {
			h.t.Fatalf("seed %d: %s holds\n%q\nwant the winners of all records\n%q", seed, s.name, got, want)
		}
	}
	if faults {
		return
	}
	if h.repaired > 0 {
		h.t.Errorf("seed %d: %d bytes of repair, want none without faults", seed, h.repaired)
	}
	for c, times := range h.crossed {
		if times > 1 {
			h.t.Errorf("seed %d: %q crossed S%d-S%d %d times", seed, c.line, c.from, c.to, times)
		}
	}
}

// settle runs the herd until it has settled and all servers have been ready.
func (h *herd) settle(seed uint64) {
	healed := h.now
	h.healed = healed
	ready := map[int]bool{}
	for !h.settled() || !h.noteReady(ready) || h.now.Sub(healed) < 5*time.Second {
		for i, s := range h.servers {
			if s.graph != len(h.graphs)-1 && h.rng.IntN(20) == 0 {
				h.adopt(i)
			}
		}
		h.step(100 * time.Millisecond)
		if h.now.Sub(healed) > time.Minute {
			h.t.Fatalf("seed %d: not settled a minute after the last fault, ready %v:\n%s", seed, ready, h.describe())
		}
	}
}

// describe lists the state of all servers and edges.
func (h *herd) describe() string {
	var b strings.Builder
	for _, s := range h.servers {
		fmt.Fprintf(&b, "%s: %d records, digest %x, topology %d of %d, expiry %+v, %s\n", s.name, s.Map().Len(), s.Map().Digest(), s.graph+1, len(h.graphs), s.Expiry(), s.ClockProblem())
		for e := range s.Edges() {
			d := s.edges[e]
			fmt.Fprintf(&b, "  to %s: removed %v, up %v, in step %v, comparing %v, %d queued, %s, sync %+v\n",
				d.peer, d.removed, d.up, s.InStep(e), s.Comparing(e), d.queued(), d.problem(), d.sync)
		}
	}
	return b.String()
}

// randomGraph is a random tree of 20 servers with up to 15 more edges.
func randomGraph(rng *rand.Rand) (edges [][2]int, n int) {
	const size = 20
	seen := map[[2]int]bool{}
	for i := 1; i < size; i++ {
		e := [2]int{rng.IntN(i), i}
		seen[e] = true
		edges = append(edges, e)
	}
	for range 15 {
		a, b := rng.IntN(size), rng.IntN(size)
		e := [2]int{min(a, b), max(a, b)}
		if a != b && !seen[e] {
			seen[e] = true
			edges = append(edges, e)
		}
	}
	return edges, size
}
