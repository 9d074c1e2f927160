package replica

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
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
	hostile   int           // the server that breaks the protocol; nobody for none
	small     int           // the server whose map is too small; nobody for none
	limit     int64         // of its map
	reporting bool          // clients report
	keep      bool          // records expire: see keepsim_test.go
	differ    time.Duration // if keep: by which clocks may differ from the time, small jumps included
	now       time.Time
	healed    time.Time // when the faults ended
	epochs    uint64    // given out so far
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
	greeted     time.Time // when it sent its first heartbeats
	keeper      simKeeper
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
	h.keep = mode == "keep"
	skew := 50 * time.Second
	if h.keep {
		skew = h.keptSkew(seed)
	}
	for i := range n {
		h.servers = append(h.servers, &simServer{name: fmt.Sprint("S", i), skew: time.Duration(i%7-3) * skew})
	}
	if mode == "hostile" {
		h.chooseHostile()
	}
	if h.faults && !h.keep && h.rng.IntN(4) == 0 {
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
	cfg.Wall = func(t time.Time) wire.Instant { return wire.InstantOf(t.Add(s.jump)) }
	if i == h.small {
		cfg.MaxBytes = h.limit
	}
	if h.keep {
		cfg.Keep, cfg.Journal = simKeep, true
	}
	s.Replica = New(cfg)
	if h.keep {
		h.restartKeeper(s)
	}
	s.greeted = h.clock(i)
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
	b := s.Heartbeat(e, h.clock(i))
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
	if h.keep {
		command = h.keptReport()
	}
	if _, _, err := h.servers[i].IAmAt(nil, wire.ParseCommand([]byte(command)), h.clock(i)); err != nil && (i != h.small || err != ErrFull) {
		h.t.Fatal(err)
	}
}

// forget makes a client unknown at the servers that an operator reaches.
func (h *herd) forget() {
	client := fmt.Appendf(nil, "c%d", h.rng.IntN(40))
	for i, s := range h.servers {
		if i == h.hostile || !h.running(i) || h.rng.IntN(4) == 0 {
			continue
		}
		line, err := s.Forget(nil, client, h.clock(i))
		switch {
		case err == nil && !mustParse(h.t, string(line)).IsTombstone():
			h.t.Fatalf("%s forgets %s with the record %s", s.name, client, line)
		case err == nil && s.Map().Has(client):
			h.t.Fatalf("%s knows %s, which it has forgotten", s.name, client)
		}
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
		h.send(i, from, simMessage{lane: simHeartbeat, data: h.servers[i].NoEdgeHeartbeat(h.clock(i)).Append(nil)})
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
		if h.keep {
			h.expire(i)
		}
		h.heartbeats(i, false)
		h.request(i)
	}
	h.flush()
	h.deliver()
}
