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
	seeds     = flag.Int("seeds", 170, "number of herds to simulate, for each graph and mode")
	firstSeed = flag.Uint64("seed", 0, "first seed; with -seeds=1, the seed to replay")
)

// herd is a simulated herd: replicas, and the messages in transit between them. One seed
// decides everything that happens, in virtual time: reports of clients, some of whose
// clocks are years off, to servers whose clocks are minutes apart; sends, deliveries and
// ticks. If faults is set, messages are also lost and repeated, links are cut and healed,
// and servers restart with an empty map.
type herd struct {
	t         *testing.T
	rng       *rand.Rand
	faults    bool
	reporting bool // clients report
	now       time.Time
	epochs    uint64 // given out so far
	servers   []*simServer
	edgeOf    map[[2]int]int            // edge number, by server and neighbour
	inTransit map[[2]int][]simMessage   // by sender and receiver, in order
	cut       map[[2]int]bool           // by sender and receiver
	crossed   map[[2]int]map[string]int // by sender and receiver: how often the flood sent each line
	repaired  int                       // bytes of repair requests and replies
}

type simServer struct {
	*Replica
	name        string
	peers       []int         // by edge: number of the neighbour
	skew        time.Duration // of its clock
	nextTick    time.Time
	forwardTick time.Time // when the next one is due; zero while nothing is delayed
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

func newHerd(t *testing.T, seed uint64, edges [][2]int, n int, faults bool) *herd {
	h := &herd{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), faults: faults, now: time.Unix(1_700_000_000, 0),
		edgeOf: map[[2]int]int{}, inTransit: map[[2]int][]simMessage{}, cut: map[[2]int]bool{}, crossed: map[[2]int]map[string]int{},
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

// restart restarts a server with a new epoch and an empty map.
func (h *herd) restart(i int) {
	s := h.servers[i]
	var names []string
	for _, p := range s.peers {
		names = append(names, h.servers[p].name)
	}
	h.epochs++
	every := time.Hour // longer than a simulation: no scheduled comparisons
	if h.faults {
		every = 30 * time.Second
	}
	s.Replica = New(Config{Name: s.name, Topology: Topology{Neighbours: names, Adjacent: h.adjacent}, Epoch: h.epochs, Repair: every})
	s.forwardTick = time.Time{}
	s.SetMaxMessage(300) // a few lines, so that there are many messages
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

// clock is the time by the clock of server i.
func (h *herd) clock(i int) time.Time { return h.now.Add(h.servers[i].skew) }

// send puts a message in transit over edge e, unless it is lost.
func (h *herd) send(from, e int, m simMessage) {
	d := [2]int{from, h.servers[from].peers[e]}
	if h.cut[d] || h.faults && h.rng.IntN(50) == 0 {
		return
	}
	// The bus keeps the order of messages.
	m.due = h.now.Add(time.Duration(h.rng.Int64N(int64(20 * time.Millisecond))))
	if q := h.inTransit[d]; len(q) > 0 && q[len(q)-1].due.After(m.due) {
		m.due = q[len(q)-1].due
	}
	h.inTransit[d] = append(h.inTransit[d], m)
	if h.faults && m.lane == simFrame && h.rng.IntN(50) == 0 {
		h.inTransit[d] = append(h.inTransit[d], m)
	}
}

// heartbeat sends a heartbeat over edge e of server i.
func (h *herd) heartbeat(i, e int, answer bool) {
	b := h.servers[i].Heartbeat(e, h.clock(i))
	b.Answer, b.Ready = answer, true
	h.send(i, e, simMessage{lane: simHeartbeat, data: b.Append(nil)})
}

// request sends the request of a comparison that is due.
func (h *herd) request(i int) {
	for e, request, ok := h.servers[i].NextRequest(h.clock(i)); ok; e, request, ok = h.servers[i].NextRequest(h.clock(i)) {
		h.repaired += len(request)
		h.send(i, e, simMessage{lane: simRequest, data: request})
	}
}

// report makes a random client report to a random server.
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

// flush sends everything that is queued.
func (h *herd) flush() {
	for i, s := range h.servers {
		for e := range s.peers {
			for f := s.NextFrame(e, nil); f.Lines > 0; f = s.NextFrame(e, nil) {
				if h.rng.IntN(20) == 0 {
					h.deliver() // while the frame is in flight
					s.FrameDone(e, h.failedSend(i, e, f))
					break
				}
				s.FrameDone(e, Sent)
				for line := range bytes.Lines(f.Data) {
					h.crossed[[2]int{i, s.peers[e]}][string(line)]++
				}
				h.send(i, e, simMessage{lane: simFrame, mark: f.Mark, data: f.Data})
			}
		}
	}
}

// failedSend is the result of a send that fails. With faults the frame may have left all
// the same.
func (h *herd) failedSend(i, e int, f Frame) SendResult {
	if !h.faults || h.rng.IntN(2) == 0 {
		return NotSent
	}
	if h.rng.IntN(2) == 0 {
		h.send(i, e, simMessage{lane: simFrame, mark: f.Mark, data: f.Data})
	}
	return Uncertain
}

// deliver delivers the messages that are due. Those of one edge stay in order.
func (h *herd) deliver() {
	var busy [][2]int
	for d := range h.inTransit {
		busy = append(busy, d)
	}
	slices.SortFunc(busy, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	h.rng.Shuffle(len(busy), func(i, j int) { busy[i], busy[j] = busy[j], busy[i] })
	for _, d := range busy {
		for len(h.inTransit[d]) > 0 && !h.inTransit[d][0].due.After(h.now) {
			m := h.inTransit[d][0]
			h.inTransit[d] = h.inTransit[d][1:]
			h.receive(d[1], h.edgeOf[[2]int{d[1], d[0]}], m)
		}
	}
}

// receive handles a message that arrives over edge e of server i.
func (h *herd) receive(i, e int, m simMessage) {
	s, now := h.servers[i], h.clock(i)
	switch m.lane {
	case simFrame:
		if in, _ := s.Frame(e, m.mark, m.data, now); in.Malformed > 0 {
			h.t.Fatalf("a frame of ours has malformed lines: %q", in.LastMalformed)
		}
		h.startForwardTimer(s)
	case simHeartbeat:
		b, err := wire.ParseHeartbeat(m.data)
		if err != nil {
			h.t.Fatal(err)
		}
		if _, reply := s.HandleHeartbeat(e, b, now); reply {
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
				h.report() // while the message is in flight
			}
			a.Sent()
			h.repaired += len(reply)
			h.send(i, e, simMessage{lane: simReply, data: reply})
		}
	case simReply:
		result, err := s.HandleReply(e, m.data, now)
		if result.Ended {
			h.heartbeat(i, e, false)
		}
		if err != nil && !h.faults { // if a part of a reply is lost, the rest may be malformed
			h.t.Fatal(err)
		}
		if result.Request != nil {
			h.repaired += len(result.Request)
			h.send(i, e, simMessage{lane: simRequest, data: result.Request})
		}
	}
	h.request(i)
}

// startForwardTimer starts the timer for delayed records, as node does.
func (h *herd) startForwardTimer(s *simServer) {
	if s.forwardTick.IsZero() && s.Delaying() {
		s.forwardTick = h.now.Add(ForwardTick)
	}
}

// step lets a random time pass, up to most, and everything that is due happen.
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
	h.flush()
	h.deliver()
}

// settled reports whether nothing is queued, in transit or delayed, all edges are in step
// and all maps are equal.
func (h *herd) settled() bool {
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

// disturb cuts or heals a link, or restarts a server.
func (h *herd) disturb() {
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

// winners is, for each client, the record that wins among all that servers hold now, as
// sorted lines.
func (h *herd) winners() []string {
	var all store.Map
	for _, s := range h.servers {
		for line := range s.Map().Lines() {
			all.Merge(mustParse(h.t, line))
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

// TestSimulation: after all faults have ended, all maps soon become equal, byte for byte,
// and hold the winner for each client of all records that any server held. Without faults,
// no record crosses an edge twice in one direction, and no repair is needed.
func TestSimulation(t *testing.T) {
	for name, graph := range graphs {
		for mode, faults := range map[string]bool{"faultless": false, "faults": true} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				var simulated time.Duration
				for seed := *firstSeed; seed < *firstSeed+uint64(*seeds); seed++ {
					edges, n := graph(rand.New(rand.NewPCG(seed, 1)))
					h := newHerd(t, seed, edges, n, faults)
					began := h.now
					h.run(seed)
					simulated += h.now.Sub(began)
				}
				t.Logf("%d seeds, %v simulated", *seeds, simulated.Round(time.Second))
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
		if h.faults && h.rng.IntN(40) == 0 {
			h.disturb()
		}
		h.step(200 * time.Millisecond)
	}
	h.reporting = false
	clear(h.cut)
	faults := h.faults
	h.faults = false
	want := h.winners()
	healed := h.now
	for !h.settled() || h.now.Sub(healed) < 5*time.Second {
		h.step(100 * time.Millisecond)
		if h.now.Sub(healed) > time.Minute {
			h.t.Fatalf("seed %d: not settled a minute after the last fault:\n%s", seed, h.describe())
		}
	}
	for _, s := range h.servers {
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
	for d, lines := range h.crossed {
		for line, times := range lines {
			if times > 1 {
				h.t.Errorf("seed %d: %q crossed S%d-S%d %d times", seed, line, d[0], d[1], times)
			}
		}
	}
}

// describe lists the state of all servers and edges.
func (h *herd) describe() string {
	var b strings.Builder
	for _, s := range h.servers {
		fmt.Fprintf(&b, "%s: %d records, digest %x\n", s.name, s.Map().Len(), s.Map().Digest())
		for e, p := range s.peers {
			d := s.edges[e]
			fmt.Fprintf(&b, "  to S%d: up %v, in step %v, %d queued, sync %+v\n", p, d.up, s.InStep(e), d.queued(), d.sync)
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
