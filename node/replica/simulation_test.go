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

	"herd/node/store"
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
	t         *testing.T
	rng       *rand.Rand
	rough     bool
	reporting bool // clients report
	now       time.Time
	epochs    uint64
	servers   []*simServer
	edgeOf    map[[2]int]int            // number of the edge from one server to another
	under     map[[2]int][]simMessage   // under way, in order
	cut       map[[2]int]bool           // links, by both directions
	crossed   map[[2]int]map[string]int // how often lines crossed, by the flood
	repairs   int                       // bytes of requests and answers
}

type simServer struct {
	*Replica
	name        string
	peers       []int // by edge
	skew        time.Duration
	nextTick    time.Time
	forwardTick time.Time // when the next is due; zero while nothing is delayed
}

type simLane byte

const (
	simFrame simLane = iota
	simHeartbeat
	simRequest
	simReply
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
	s.forwardTick = time.Time{}
	s.SetMaxMessage(300) // a few lines: messages are many
	s.nextTick = h.now.Add(time.Duration(h.rng.Int64N(int64(HeartbeatEvery))))
	for e := range s.peers {
		h.heartbeat(i, e, true)
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

func (h *herd) heartbeat(i, e int, answer bool) {
	b := h.servers[i].Heartbeat(e, h.clock(i))
	b.Answer, b.Ready = answer, true
	h.post(i, e, simMessage{lane: simHeartbeat, data: b.Append(nil)})
}

// request sends the request of a comparison that is due.
func (h *herd) request(i int) {
	if e, request, ok := h.servers[i].NextRequest(h.clock(i)); ok {
		h.repairs += len(request)
		h.post(i, e, simMessage{lane: simRequest, data: request})
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
			for f := s.NextFrame(e, nil); f.Lines > 0; f = s.NextFrame(e, nil) {
				if h.rng.IntN(20) == 0 {
					h.deliver() // while it is being sent
					s.FrameDone(e, h.failedSend(i, e, f))
					break
				}
				s.FrameDone(e, Sent)
				for line := range bytes.Lines(f.Data) {
					h.crossed[[2]int{i, s.peers[e]}][string(line)]++
				}
				h.post(i, e, simMessage{lane: simFrame, mark: f.Mark, data: f.Data})
			}
		}
	}
}

// failedSend is a send that fails. In a rough world the frame may have left all the same.
func (h *herd) failedSend(i, e int, f Frame) SendResult {
	if !h.rough || h.rng.IntN(2) == 0 {
		return NotSent
	}
	if h.rng.IntN(2) == 0 {
		h.post(i, e, simMessage{lane: simFrame, mark: f.Mark, data: f.Data})
	}
	return Uncertain
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
		if in, _ := s.Frame(e, m.mark, m.data, now); in.Malformed > 0 {
			h.t.Fatalf("a frame of ours has bad lines: %q", in.LastMalformed)
		}
		h.startForwardTimer(s)
	case simHeartbeat:
		b, err := wire.ParseHeartbeat(m.data)
		if err != nil {
			h.t.Fatal(err)
		}
		if _, answer := s.HandleHeartbeat(e, b, now); answer {
			h.heartbeat(i, e, false)
		}
	case simRequest:
		a, err := s.HandleRequest(e, m.data, now)
		if err != nil {
			h.t.Fatal(err)
		}
		for more := true; more; {
			var reply []byte
			if reply, more, err = a.Next(); err != nil {
				h.t.Fatal(err)
			}
			if h.reporting && h.rng.IntN(20) == 0 {
				h.report() // while it is being sent
			}
			a.Sent()
			h.repairs += len(reply)
			h.post(i, e, simMessage{lane: simReply, data: reply})
		}
	case simReply:
		result, err := s.HandleReply(e, m.data, now)
		if result.Ended {
			h.heartbeat(i, e, false)
		}
		if err != nil && !h.rough { // where a part of a reply is lost, the rest may make no sense
			h.t.Fatal(err)
		}
		if result.Request != nil {
			h.repairs += len(result.Request)
			h.post(i, e, simMessage{lane: simRequest, data: result.Request})
		}
	}
	h.request(i)
}

// startForwardTimer is the server's timer.
func (h *herd) startForwardTimer(s *simServer) {
	if s.forwardTick.IsZero() && s.Delaying() {
		s.forwardTick = h.now.Add(ForwardTick)
	}
}

// step lets some time pass, and all that happens in it.
func (h *herd) step(most time.Duration) {
	h.now = h.now.Add(time.Duration(h.rng.Int64N(int64(most))))
	for i, s := range h.servers {
		if !s.forwardTick.IsZero() && !h.now.Before(s.forwardTick) {
			s.ForwardTicked()
			s.forwardTick = time.Time{}
			h.startForwardTimer(s)
		}
		if h.now.Before(s.nextTick) {
			continue
		}
		s.nextTick = s.nextTick.Add(HeartbeatEvery)
		s.Tick(h.clock(i))
		for e := range s.peers {
			h.heartbeat(i, e, false)
		}
		h.request(i)
	}
	h.send()
	h.deliver()
}

func (h *herd) quiet() bool {
	for _, s := range h.servers {
		for e := range s.peers {
			if s.edges[e].queued() > 0 || s.Delaying() || !s.InStep(e) {
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
	var all store.Map
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

// TestSimulation: whatever happened, once it stops happening all maps are shortDelay
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
	h.reporting = true
	for range 400 {
		if h.rng.IntN(3) == 0 {
			h.report()
		}
		if h.rough && h.rng.IntN(40) == 0 {
			h.havoc()
		}
		h.step(200 * time.Millisecond)
	}
	h.reporting = false
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
			d := &s.edges[e]
			fmt.Fprintf(&b, "  to S%d: up %v, in step %v, %d queued, sync %+v\n", p, d.up, s.InStep(e), d.queued(), d.sync)
		}
		fmt.Fprintf(&b, "  comparison %+v\n", s.comparison)
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

func sortedLines(m *store.Map) []string { return slices.Sorted(m.Lines()) }
