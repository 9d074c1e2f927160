package replica

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"herd/node/wire"
)

// A simulated herd: replicas, and the frames under way between them, first in,
// first out on each directed edge and in any order across edges. All that
// happens is drawn from one seed.
type herd struct {
	rng      *rand.Rand
	replicas []*Replica
	peers    [][]int // peers[i][e] is the replica at the other end of edge e of i
	edgeOf   map[[2]int]int
	under    map[[2]int][][]byte // frames under way
	crossed  map[[2]int]map[string]int
	wall     time.Time
}

func newHerd(seed uint64, edges [][2]int, n int) *herd {
	h := &herd{
		rng: rand.New(rand.NewPCG(seed, 0)), peers: make([][]int, n), edgeOf: map[[2]int]int{},
		under: map[[2]int][][]byte{}, crossed: map[[2]int]map[string]int{}, wall: time.Unix(1_700_000_000, 0),
	}
	names := make([][]string, n)
	for _, e := range edges {
		for _, d := range [][2]int{{e[0], e[1]}, {e[1], e[0]}} {
			h.edgeOf[d] = len(h.peers[d[0]])
			h.peers[d[0]] = append(h.peers[d[0]], d[1])
			names[d[0]] = append(names[d[0]], fmt.Sprint("S", d[1]))
			h.crossed[d] = map[string]int{}
		}
	}
	for i := range n {
		h.replicas = append(h.replicas, New(Config{Name: fmt.Sprint("S", i), Neighbours: names[i], Epoch: uint64(i + 1)}))
	}
	return h
}

// report lets a random client report to a random server; clients' clocks are
// years off now and then, servers' up to five minutes, for good.
func (h *herd) report() {
	i := h.rng.IntN(len(h.replicas))
	skew := time.Duration(i%7-3) * 100 * time.Second
	at := h.wall.Unix() + h.rng.Int64N(120) - 60
	if h.rng.IntN(10) == 0 {
		at += (h.rng.Int64N(3) - 1) * 315_000_000
	}
	command := fmt.Sprintf("IAMAT c%d +%d-1 %d", h.rng.IntN(5), h.rng.IntN(90), at)
	h.wall = h.wall.Add(time.Duration(h.rng.Int64N(int64(time.Second))))
	if _, _, err := h.replicas[i].IAmAt(nil, wire.ParseCommand([]byte(command)), h.wall.Add(skew)); err != nil {
		panic(err)
	}
}

// send lets a random replica fill a frame for a random edge.
func (h *herd) send() bool {
	order := h.rng.Perm(len(h.replicas))
	for _, i := range order {
		for _, e := range h.rng.Perm(len(h.peers[i])) {
			frame, _, lines := h.replicas[i].Fill(e, nil, 200)
			if lines == 0 {
				continue
			}
			d := [2]int{i, h.peers[i][e]}
			if h.rng.IntN(20) == 0 {
				h.replicas[i].Unsent(e)
				return true
			}
			h.replicas[i].Sent(e)
			h.under[d] = append(h.under[d], frame)
			for line := range bytes.Lines(frame) {
				h.crossed[d][string(line)]++
			}
			return true
		}
	}
	return false
}

// deliver hands over the oldest frame of a random edge.
func (h *herd) deliver() bool {
	var busy [][2]int
	for d, frames := range h.under {
		if len(frames) > 0 {
			busy = append(busy, d)
		}
	}
	if len(busy) == 0 {
		return false
	}
	slices.SortFunc(busy, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	d := busy[h.rng.IntN(len(busy))]
	frame := h.under[d][0]
	h.under[d] = h.under[d][1:]
	if in, _ := h.replicas[d[1]].Frame(h.edgeOf[[2]int{d[1], d[0]}], wire.Mark{}, frame); in.Bad > 0 {
		panic(fmt.Sprintf("a frame of ours has bad lines: %q", in.FirstBad))
	}
	return true
}

func (h *herd) settle() {
	for h.send() || h.deliver() {
	}
}

// TestFloodConverges: whatever the order of reports, sends and deliveries, all
// maps end byte-identical, and no record crosses a directed edge twice.
func TestFloodConverges(t *testing.T) {
	graphs := map[string]func(*rand.Rand) ([][2]int, int){
		"goloman": func(*rand.Rand) ([][2]int, int) {
			return [][2]int{{0, 1}, {0, 2}, {0, 4}, {1, 4}, {2, 3}, {2, 4}}, 5
		},
		"riley": func(*rand.Rand) ([][2]int, int) {
			return [][2]int{{0, 1}, {0, 2}, {4, 1}, {4, 2}, {4, 3}, {2, 3}}, 5
		},
		"random 20": randomGraph,
	}
	for name, graph := range graphs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(100) {
				edges, n := graph(rand.New(rand.NewPCG(seed, 1)))
				h := newHerd(seed, edges, n)
				for range 300 {
					switch h.rng.IntN(4) {
					case 0:
						h.report()
					case 1:
						h.send()
					default:
						h.deliver()
					}
				}
				h.settle()
				want := sortedLines(h.replicas[0].Map())
				for i, r := range h.replicas {
					if got := sortedLines(r.Map()); !slices.Equal(got, want) {
						t.Fatalf("seed %d: S%d holds\n%q\nS0 holds\n%q", seed, i, got, want)
					}
				}
				for d, lines := range h.crossed {
					for line, times := range lines {
						if times > 1 {
							t.Errorf("seed %d: %q crossed S%d-S%d %d times", seed, line, d[0], d[1], times)
						}
					}
				}
			}
		})
	}
}

// randomGraph is a random tree of 20 with 15 more edges.
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
