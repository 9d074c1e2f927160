package replica

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// defaultSeeds is fewer under the race detector.
var defaultSeeds = 2000

var (
	seeds     = flag.Int("seeds", 0, "number of herds to simulate, over all graphs and modes; 0 for the default")
	firstSeed = flag.Uint64("seed", 0, "first seed; with -seeds=1, the seed to replay")
)

// herd is a simulated herd: replicas, and the messages in transit between them. One seed
// decides everything that happens, in virtual time: reports of clients, some of whose
// clocks are years off, to servers whose clocks are minutes apart; sends, deliveries and
// ticks. If faults is set, the things of disturb happen too, and messages are lost and
// repeated. The map of one server may be too small for all clients.
type herd struct {
	t         *testing.T
	rng       *rand.Rand
	faults    bool
	hostile   int   // the server that breaks the protocol; nobody for none
	small     int   // the server whose map is too small; nobody for none
	limit     int64 // of its map
	reporting bool  // clients report
	now       time.Time
	epochs    uint64 // given out so far
	servers   []*simServer
	graphs    [][][2]int              // the topologies that there have been, as edges; the last is the newest
	inTransit map[[2]int][]simMessage // by sender and receiver, in order
	cut       map[[2]int]bool         // by sender and receiver
	crossed   map[crossing]int        // how often the flood sent a line
	repaired  int                     // bytes of repair requests and replies
}

type simServer struct {
	*Replica
	name        string
	graph       int           // its topology, in herd.graphs
	skew        time.Duration // of its clock
	jump        time.Duration // by which its clock was set wrong
	paused      time.Time     // until then the process does not run
	nextTick    time.Time
	forwardTick time.Time // when the next one is due; zero while nothing is delayed
}

// crossing is a line on its way from one server to another.
type crossing struct {
	from, to int
	line     string
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

func newHerd(t *testing.T, seed uint64, edges [][2]int, n int, mode string) *herd {
	h := &herd{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), faults: mode != "faultless", hostile: nobody, small: nobody, now: time.Unix(1_700_000_000, 0), graphs: [][][2]int{edges},
		inTransit: map[[2]int][]simMessage{}, cut: map[[2]int]bool{}, crossed: map[crossing]int{},
	}
	for i := range n {
		h.servers = append(h.servers, &simServer{name: fmt.Sprint("S", i), skew: time.Duration(i%7-3) * 50 * time.Second})
	}
	if mode == "hostile" {
		h.chooseHostile()
	}
	if h.faults && h.rng.IntN(4) == 0 {
		h.chooseSmall()
	}
	for i := range n {
		h.restart(i, nil)
	}
	return h
}

// number is the number of a server, by its name.
func number(name string) (i int) {
	i, _ = strconv.Atoi(strings.TrimPrefix(name, "S"))
	return i
}

// topology is what server i knows of a graph.
func (h *herd) topology(i, graph int) Topology {
	edges := map[[2]int]bool{}
	var neighbours []string
	for _, e := range h.graphs[graph] {
		edges[e], edges[[2]int{e[1], e[0]}] = true, true
		switch i {
		case e[0]:
			neighbours = append(neighbours, h.servers[e[1]].name)
		case e[1]:
			neighbours = append(neighbours, h.servers[e[0]].name)
		}
	}
	return Topology{
		Neighbours: neighbours, Hash: uint64(graph) + 1,
		Adjacent: func(a, b string) bool { return edges[[2]int{number(a), number(b)}] },
	}
}

// restart restarts a server with a new epoch, the newest topology and the records that
// its journal has.
func (h *herd) restart(i int, journal []string) {
	s := h.servers[i]
	h.checkConduct(i)
	h.epochs++
	every := time.Hour // longer than a simulation: no scheduled comparisons
	if h.faults {
		every = 30 * time.Second
	}
	s.graph = len(h.graphs) - 1
	cfg := Config{Name: s.name, Topology: h.topology(i, s.graph), Epoch: h.epochs, Repair: every}
	if i == h.small {
		cfg.MaxBytes = h.limit
	}
	s.Replica = New(cfg)
	s.forwardTick = time.Time{}
	s.SetMaxMessage(300) // a few lines, so that there are many messages
	if _, malformed := s.Replay([]byte(strings.Join(journal, "\n"))); malformed > 0 {
		h.t.Fatalf("%d malformed lines in the journal", malformed)
	}
	s.nextTick = h.now.Add(time.Duration(h.rng.Int64N(int64(HeartbeatEvery))))
	h.heartbeats(i, true)
}

// adopt makes a running server read the newest topology.
func (h *herd) adopt(i int) {
	s := h.servers[i]
	s.graph = len(h.graphs) - 1
	s.SetTopology(h.topology(i, s.graph), h.clock(i))
	h.heartbeats(i, true)
}

// clock is the time by the clock of server i, as it measures intervals.
func (h *herd) clock(i int) time.Time { return h.now.Add(h.servers[i].skew) }

// wall is the time that the clock of server i shows.
func (h *herd) wall(i int) time.Time { return h.clock(i).Add(h.servers[i].jump) }

// send puts a message in transit, unless it is lost.
func (h *herd) send(from int, to string, m simMessage) {
	d := [2]int{from, number(to)}
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
	s := h.servers[i]
	if s.Peer(e) == "" {
		return
	}
	b := s.Heartbeat(e, h.wall(i))
	b.Answer, b.Ready = answer, true
	h.send(i, s.Peer(e), simMessage{lane: simHeartbeat, data: b.Append(nil)})
}

func (h *herd) heartbeats(i int, answer bool) {
	for e := range h.servers[i].Edges() {
		h.heartbeat(i, e, answer)
	}
}

// request sends the requests of comparisons that are due.
func (h *herd) request(i int) {
	s := h.servers[i]
	for e, request, ok := s.NextRequest(h.clock(i)); ok; e, request, ok = s.NextRequest(h.clock(i)) {
		h.repaired += len(request)
		h.send(i, s.Peer(e), simMessage{lane: simRequest, data: request})
	}
}

// running reports whether the process of server i runs.
func (h *herd) running(i int) bool { return !h.now.Before(h.servers[i].paused) }

// report makes a random client report to a random server.
func (h *herd) report() {
	i := h.rng.IntN(len(h.servers))
	if !h.running(i) {
		return
	}
	at := h.now.Unix() + h.rng.Int64N(120) - 60
	if h.rng.IntN(10) == 0 {
		at += (h.rng.Int64N(3) - 1) * 315_000_000
	}
	command := fmt.Sprintf("IAMAT c%d +%d-1 %d", h.rng.IntN(40), h.rng.IntN(90), at)
	if _, _, err := h.servers[i].IAmAt(nil, wire.ParseCommand([]byte(command)), h.wall(i)); err != nil && (i != h.small || err != ErrFull) {
		h.t.Fatal(err)
	}
}

// flush sends everything that is queued.
func (h *herd) flush() {
	for i, s := range h.servers {
		for e := 0; e < s.Edges() && h.running(i); e++ {
			for f := s.NextFrame(e, nil); f.Lines > 0; f = s.NextFrame(e, nil) {
				to, before := s.Peer(e), s.Replica
				if h.rng.IntN(20) == 0 {
					h.deliver() // while the frame is in flight
					if h.faults && h.rng.IntN(20) == 0 {
						h.disturb()
					}
					if s.Replica != before { // it was restarted
						break
					}
					s.FrameDone(e, h.failedSend(i, to, f))
					break
				}
				s.FrameDone(e, Sent)
				for line := range bytes.Lines(f.Data) {
					if h.faults {
						break
					}
					h.crossed[crossing{i, number(to), string(line)}]++
				}
				h.send(i, to, simMessage{lane: simFrame, mark: f.Mark, data: f.Data})
			}
		}
	}
}

// failedSend is the result of a send that fails. With faults the frame may have left all
// the same.
func (h *herd) failedSend(i int, to string, f Frame) SendResult {
	if !h.faults || h.rng.IntN(2) == 0 {
		return NotSent
	}
	if h.rng.IntN(2) == 0 {
		h.send(i, to, simMessage{lane: simFrame, mark: f.Mark, data: f.Data})
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
		for h.running(d[1]) && len(h.inTransit[d]) > 0 && !h.inTransit[d][0].due.After(h.now) {
			m := h.inTransit[d][0]
			h.inTransit[d] = h.inTransit[d][1:]
			if e, ok := h.servers[d[1]].EdgeTo(h.servers[d[0]].name); ok {
				h.receive(d[1], e, m)
			} else if m.lane == simHeartbeat {
				h.answerStranger(d[1], h.servers[d[0]].name, m)
			}
		}
	}
}

// answerStranger answers the heartbeat of a server that is no neighbour, as node does.
func (h *herd) answerStranger(i int, from string, m simMessage) {
	if b, err := wire.ParseHeartbeat(m.data); err == nil && !b.NoEdge {
		h.send(i, from, simMessage{lane: simHeartbeat, data: h.servers[i].NoEdgeHeartbeat(h.wall(i)).Append(nil)})
	}
}

// receive handles a message that arrives over edge e of server i.
func (h *herd) receive(i, e int, m simMessage) {
	s, now := h.servers[i], h.clock(i)
	honest := number(s.Peer(e)) != h.hostile
	switch m.lane {
	case simFrame:
		if in, _ := s.Frame(e, m.mark, m.data, now); in.Malformed > 0 && honest {
			h.t.Fatalf("a frame of ours has malformed lines: %q", in.LastMalformed)
		}
		h.startForwardTimer(s)
	case simHeartbeat:
		b, err := wire.ParseHeartbeat(m.data)
		if err != nil {
			if honest {
				h.t.Fatal(err)
			}
			s.Malformed(e, err.Error(), now)
			return
		}
		if _, reply := s.HandleHeartbeat(e, b, now); reply {
			h.heartbeat(i, e, false)
		}
	case simRequest:
		a, _, err := s.HandleRequest(e, m.data, now)
		if err != nil && honest && i != h.hostile {
			h.t.Fatal(err)
		}
		for more := err == nil; more; {
			var reply []byte
			if reply, more, err = a.Next(); err != nil {
				if honest {
					h.t.Fatal(err)
				}
				break
			}
			if h.reporting && h.rng.IntN(20) == 0 {
				h.report() // while the message is in flight
			}
			a.Sent()
			h.repaired += len(reply)
			h.send(i, s.Peer(e), simMessage{lane: simReply, data: reply})
		}
	case simReply:
		result, err := s.HandleReply(e, m.data, now)
		if result.Ended {
			h.heartbeat(i, e, false)
		}
		if err != nil && !h.faults && honest { // if a part of a reply is lost, the rest may be malformed
			h.t.Fatal(err)
		}
		if result.Request != nil {
			h.repaired += len(result.Request)
			h.send(i, s.Peer(e), simMessage{lane: simRequest, data: result.Request})
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
		if !h.running(i) {
			continue
		}
		if !s.forwardTick.IsZero() && !h.now.Before(s.forwardTick) {
			s.ForwardTicked()
			s.forwardTick = time.Time{}
			h.startForwardTimer(s)
		}
		if h.now.Before(s.nextTick) {
			continue
		}
		for !h.now.Before(s.nextTick) { // a ticker drops the ticks of a pause
			s.nextTick = s.nextTick.Add(HeartbeatEvery)
		}
		s.Tick(h.clock(i))
		h.heartbeats(i, false)
		h.request(i)
	}
	h.flush()
	h.deliver()
}

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
		h.restart(d[0], nil)
	case 1:
		lines := slices.Sorted(s.Map().Lines())
		h.rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		h.restart(d[0], lines[:h.rng.IntN(len(lines)+1)])
	case 2:
		s.paused = h.now.Add(time.Duration(h.rng.Int64N(int64(8 * time.Second))))
	case 3:
		s.jump = time.Duration(h.rng.IntN(5)-2) * []time.Duration{time.Second, time.Minute, 300 * 24 * time.Hour}[h.rng.IntN(3)]
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
		fmt.Fprintf(&b, "%s: %d records, digest %x, topology %d of %d\n", s.name, s.Map().Len(), s.Map().Digest(), s.graph+1, len(h.graphs))
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
