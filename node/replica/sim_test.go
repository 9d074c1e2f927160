package replica

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
)

var (
	seeds     = flag.Int("seeds", 170, "simulated herds to run, for each graph and mode")
	firstSeed = flag.Uint64("seed", 0, "the first seed; with -seeds=1, the one to replay")
)

// A simulated herd: replicas, and the messages under way between them. One seed
// decides all that happens, in virtual time: reports by clients whose clocks are
// years off now and then, to servers whose clocks are minutes apart; sends,
// deliveries, ticks; and in a rough world lost and repeated messages, cut links,
// and servers that restart with nothing.
type herd struct {
	t       *testing.T
	rng     *rand.Rand
	rough   bool
	now     time.Time
	epochs  uint64
	servers []*simServer
	edgeOf  map[[2]int]int            // number of the edge from one server to another
	under   map[[2]int][]simMessage   // under way, in order
	cut     map[[2]int]bool           // links, by both directions
	crossed map[[2]int]map[string]int // how often lines crossed, by the flood
	repairs int                       // bytes of questions and answers
}

type simServer struct {
	*Replica
	name     string
	peers    []int // by edge
	skew     time.Duration
	nextTick time.Time
	moment   time.Time // when one will have passed; zero while nothing is presumed
}

type simLane byte

const (
	simFrame simLane = iota
	simBeat
	simQuestion
	simAnswer
)

type simMessage struct {
	lane simLane
	mark wire.Mark
	data []byte
	due  time.Time
}

func newHerd(t *testing.T, seed uint64, edges [][2]int, n int, rough bool) *herd {
	h := &herd{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), rough: rough, now: time.Unix(1_700_000_000, 0),
		edgeOf: map[[2]int]int{}, under: map[[2]int][]simMessage{}, cut: map[[2]int]bool{}, crossed: map[[2]int]map[string]int{},
	}
	for i := range n {
		h.servers = append(h.servers, &simServer{name: fmt.Sprint("S", i), skew: time.Duration(i%7-3) * 50 * time.Second})
	}
	for _, e := range edges {
		for _, d := range [][2]int{{e[0], e[1]}, {e[1], e[0]}} {
			h.edgeOf[d] = len(h.servers[d[0]].peers)
			h.servers[d[0]].peers = append(h.servers[d[0]].peers, d[1])
			h.crossed[d] = map[string]int{}
		}
	}
	for i := range n {
		h.restart(i)
	}
	return h
}

// restart gives a server a new life, with an empty map.
func (h *herd) restart(i int) {
	s := h.servers[i]
	var names []string
	for _, p := range s.peers {
		names = append(names, h.servers[p].name)
	}
	h.epochs++
	every := time.Hour // longer than a simulation: only what happens sets it off
	if h.rough {
		every = 30 * time.Second
	}
	s.Replica = New(Config{Name: s.name, Neighbours: names, Adjacent: h.adjacent, Epoch: h.epochs, Repair: every})
	s.moment = time.Time{}
	s.Limit(300) // a few lines: messages are many
	s.nextTick = h.now.Add(time.Duration(h.rng.Int64N(int64(BeatEvery))))
	for e := range s.peers {
		h.beat(i, e, true)
	}
}

func (h *herd) adjacent(a, b string) bool {
	var i, j int
	fmt.Sscanf(a+" "+b, "S%d S%d", &i, &j)
	_, adjacent := h.edgeOf[[2]int{i, j}]
	return adjacent
}

// clock is what server i takes the time to be.
func (h *herd) clock(i int) time.Time { return h.now.Add(h.servers[i].skew) }

func (h *herd) post(from, e int, m simMessage) {
	d := [2]int{from, h.servers[from].peers[e]}
	if h.cut[d] || h.rough && h.rng.IntN(50) == 0 {
		return
	}
	// The bus keeps the order of one sender's messages.
	m.due = h.now.Add(time.Duration(h.rng.Int64N(int64(20 * time.Millisecond))))
	if q := h.under[d]; len(q) > 0 && q[len(q)-1].due.After(m.due) {
		m.due = q[len(q)-1].due
	}
	h.under[d] = append(h.under[d], m)
	if h.rough && m.lane == simFrame && h.rng.IntN(50) == 0 {
		h.under[d] = append(h.under[d], m)
	}
}

func (h *herd) beat(i, e int, answer bool) {
	b := h.servers[i].Heartbeat(e, h.clock(i))
	b.Answer, b.Ready = answer, true
	h.post(i, e, simMessage{lane: simBeat, data: b.Append(nil)})
}

// ask sends the question of a repair that is due.
func (h *herd) ask(i int) {
	if e, question, ok := h.servers[i].Repair(h.clock(i)); ok {
		h.repairs += len(question)
		h.post(i, e, simMessage{lane: simQuestion, data: question})
	}
}

func (h *herd) report() {
	i := h.rng.IntN(len(h.servers))
	at := h.now.Unix() + h.rng.Int64N(120) - 60
	if h.rng.IntN(10) == 0 {
		at += (h.rng.Int64N(3) - 1) * 315_000_000
	}
	command := fmt.Sprintf("IAMAT c%d +%d-1 %d", h.rng.IntN(40), h.rng.IntN(90), at)
	if _, _, err := h.servers[i].IAmAt(nil, wire.ParseCommand([]byte(command)), h.clock(i)); err != nil {
		h.t.Fatal(err)
	}
}

// send sends all that servers want to.
func (h *herd) send() {
	for i, s := range h.servers {
		for e := range s.peers {
			for {
				n, up := s.Waiting(e)
				if n == 0 || !up {
					break
				}
				frame, mark, _ := s.Fill(e, nil)
				if h.rng.IntN(20) == 0 {
					h.deliver() // while it is being sent
					s.Unsent(e)
					break
				}
				s.Sent(e)
				for line := range bytes.Lines(frame) {
					h.crossed[[2]int{i, s.peers[e]}][string(line)]++
				}
				h.post(i, e, simMessage{lane: simFrame, mark: mark, data: frame})
			}
		}
	}
}

// deliver hands over what is due, in the order of directed edges.
func (h *herd) deliver() {
	var busy [][2]int
	for d := range h.under {
		busy = append(busy, d)
	}
	slices.SortFunc(busy, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	h.rng.Shuffle(len(busy), func(i, j int) { busy[i], busy[j] = busy[j], busy[i] })
	for _, d := range busy {
		for len(h.under[d]) > 0 && !h.under[d][0].due.After(h.now) {
			m := h.under[d][0]
			h.under[d] = h.under[d][1:]
			h.receive(d[1], h.edgeOf[[2]int{d[1], d[0]}], m)
		}
	}
}

func (h *herd) receive(i, e int, m simMessage) {
	s, now := h.servers[i], h.clock(i)
	switch m.lane {
	case simFrame:
		if in, _ := s.Frame(e, m.mark, m.data, now); in.Bad > 0 {
			h.t.Fatalf("a frame of ours has bad lines: %q", in.LastBad)
		}
		h.timeMoments(s)
	case simBeat:
		b, err := wire.ParseBeat(m.data)
		if err != nil {
			h.t.Fatal(err)
		}
		if _, answer := s.Beat(e, b, now); answer {
			h.beat(i, e, false)
		}
	case simQuestion:
		a, err := s.Question(e, m.data, now)
		if err != nil {
			h.t.Fatal(err)
		}
		for more := true; more; {
			var answer []byte
			if answer, more, err = a.Next(); err != nil {
				h.t.Fatal(err)
			}
			h.repairs += len(answer)
			h.post(i, e, simMessage{lane: simAnswer, data: answer})
		}
	case simAnswer:
		question, ended, _, err := s.Told(e, m.data, now)
		if ended {
			h.beat(i, e, false)
		}
		if err != nil && !h.rough { // a lost part of an answer makes the rest senseless
			h.t.Fatal(err)
		}
		if question != nil {
			h.repairs += len(question)
			h.post(i, e, simMessage{lane: simQuestion, data: question})
		}
	}
	h.ask(i)
}

// timeMoments is the server's timer.
func (h *herd) timeMoments(s *simServer) {
	if s.moment.IsZero() && s.Presuming() {
		s.moment = h.now.Add(Moment)
	}
}

// step lets some time pass, and all that happens in it.
func (h *herd) step(most time.Duration) {
	h.now = h.now.Add(time.Duration(h.rng.Int64N(int64(most))))
	for i, s := range h.servers {
		if !s.moment.IsZero() && !h.now.Before(s.moment) {
			s.MomentPassed()
			s.moment = time.Time{}
			h.timeMoments(s)
		}
		if h.now.Before(s.nextTick) {
			continue
		}
		s.nextTick = s.nextTick.Add(BeatEvery)
		s.Tick(h.clock(i))
		for e := range s.peers {
			h.beat(i, e, false)
		}
		h.ask(i)
	}
	h.send()
	h.deliver()
}

func (h *herd) quiet() bool {
	for _, s := range h.servers {
		for e := range s.peers {
			if n, _ := s.Waiting(e); n > 0 || s.Presuming() || !s.InStep(e) {
				return false
			}
		}
	}
	want := h.servers[0].Map().Digest()
	for _, s := range h.servers {
		if s.Map().Digest() != want {
			return false
		}
	}
	return true
}

// havoc cuts or heals a link or restarts a server.
func (h *herd) havoc() {
	links := make([][2]int, 0, len(h.edgeOf))
	for d := range h.edgeOf {
		links = append(links, d)
	}
	slices.SortFunc(links, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	switch d := links[h.rng.IntN(len(links))]; h.rng.IntN(5) {
	case 0:
		h.restart(d[0])
	default:
		cut := !h.cut[d]
		h.cut[d], h.cut[[2]int{d[1], d[0]}] = cut, cut
	}
}

// best is the record that should win for each client, of all that servers hold
// now, as sorted lines.
func (h *herd) best() []string {
	var all Map
	for _, s := range h.servers {
		for line := range s.Map().Lines() {
			r, err := wire.ParseRecord([]byte(line))
			if err != nil {
				h.t.Fatal(err)
			}
			all.Merge(r)
		}
	}
	return sortedLines(&all)
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

// TestSimulation: whatever happened, once it stops happening all maps are soon
// byte-identical, with for each client the winner of all that any server held; and
// in a smooth world no record crosses a directed edge twice and nothing needs
// repair.
func TestSimulation(t *testing.T) {
	for name, graph := range graphs {
		for mode, rough := range map[string]bool{"smooth": false, "rough": true} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				var simulated time.Duration
				for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
					edges, n := graph(rand.New(rand.NewPCG(seed, 1)))
					h := newHerd(t, seed, edges, n, rough)
					began := h.now
					h.live(seed)
					simulated += h.now.Sub(began)
				}
				t.Logf("%d seeds, %v simulated", *seeds, simulated.Round(time.Second))
			})
		}
	}
}

func (h *herd) live(seed uint64) {
	for range 50 { // until greeted
		h.step(20 * time.Millisecond)
	}
	for range 400 {
		if h.rng.IntN(3) == 0 {
			h.report()
		}
		if h.rough && h.rng.IntN(40) == 0 {
			h.havoc()
		}
		h.step(200 * time.Millisecond)
	}
	clear(h.cut)
	rough := h.rough
	h.rough = false
	want := h.best()
	healed := h.now
	for !h.quiet() || h.now.Sub(healed) < 5*time.Second {
		h.step(100 * time.Millisecond)
		if h.now.Sub(healed) > time.Minute {
			h.t.Fatalf("seed %d: not in step a minute after all was healed:\n%s", seed, h.describe())
		}
	}
	for _, s := range h.servers {
		if got := sortedLines(s.Map()); !slices.Equal(got, want) {
			h.t.Fatalf("seed %d: %s holds\n%q\nwant the winners of all that was held\n%q", seed, s.name, got, want)
		}
	}
	if rough {
		return
	}
	if h.repairs > 0 {
		h.t.Errorf("seed %d: %d bytes of repair where nothing was lost", seed, h.repairs)
	}
	for d, lines := range h.crossed {
		for line, times := range lines {
			if times > 1 {
				h.t.Errorf("seed %d: %q crossed S%d-S%d %d times", seed, line, d[0], d[1], times)
			}
		}
	}
}

func (h *herd) describe() string {
	var b strings.Builder
	for _, s := range h.servers {
		fmt.Fprintf(&b, "%s: %d records, digest %x\n", s.name, s.Map().Len(), s.Map().Digest())
		for e, p := range s.peers {
			n, up := s.Waiting(e)
			fmt.Fprintf(&b, "  to S%d: up %v, in step %v, %d wait, repair %+v\n", p, up, s.InStep(e), n, s.edges[e].repair)
		}
		fmt.Fprintf(&b, "  pull %+v\n", s.pull)
	}
	return b.String()
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
