package replica

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"

	"herd/node/wire"
)

// nobody is the hostile server of a herd that has none.
const nobody = -1

// chooseHostile makes one server hostile: without it, the others must still be connected.
func (h *herd) chooseHostile() {
	n := len(h.servers)
	first := h.rng.IntN(n)
	for i := range n {
		h.hostile = (first + i) % n
		if h.restConnected(h.graphs[0]) {
			return
		}
	}
	h.hostile = nobody
}

// misbehave makes the hostile server send a neighbour something that breaks the protocol,
// or that does harm within it. Otherwise it runs like any other server.
func (h *herd) misbehave() {
	i := h.hostile
	s := h.servers[i]
	e := h.rng.IntN(s.Edges())
	to := s.Peer(e)
	if to == "" || !h.running(i) {
		return
	}
	victim := h.servers[number(to)]
	back, listed := victim.EdgeTo(s.name)
	if !listed {
		return
	}
	mark := wire.Mark{Epoch: s.cfg.Epoch, Seq: s.edges[e].sent + 1}
	frame := func(mark wire.Mark, data string) {
		h.send(i, to, simMessage{lane: simFrame, mark: mark, data: []byte(data)})
	}
	sync := func(lane simLane, m wire.Sync) { h.send(i, to, simMessage{lane: lane, data: m.Append(nil)}) }
	heartbeat := func(change func(*wire.Heartbeat)) {
		b := s.Heartbeat(e, h.clock(i))
		change(&b)
		h.send(i, to, simMessage{lane: simHeartbeat, data: b.Append(nil)})
	}
	random := func(n int) []byte {
		b := make([]byte, h.rng.IntN(n))
		for i := range b {
			b[i] = byte(h.rng.IntN(256))
		}
		return b
	}
	record := func(server string, client int, receipt int64) string {
		return fmt.Sprintf("AT %s +%d.000000000 m%d +1+1 %d\n", server, h.rng.IntN(100), client, receipt)
	}
	now := h.now.Unix()
	flood := 1 // few messages; now and then more than are allowed
	if h.rng.IntN(20) == 0 {
		flood = 100
	}
	switch h.rng.IntN(14) {
	case 0:
		frame(mark, string(random(300)))
	case 1: // longer than any frame
		var b strings.Builder
		for b.Len() <= messageSize {
			b.WriteString(record(s.name, h.rng.IntN(100), now))
		}
		frame(mark, b.String())
	case 2:
		mark.Seq += []uint64{1 << 20, 1 << 40, math.MaxUint64 - mark.Seq}[h.rng.IntN(3)]
		frame(mark, record(s.name, 1, now))
	case 3:
		frame(wire.Mark{Epoch: h.rng.Uint64(), Seq: h.rng.Uint64()}, record(s.name, 2, now))
	case 4: // receipts that are years ahead
		for range h.rng.IntN(20) {
			frame(wire.Mark{}, record([]string{s.name, to, "S1"}[h.rng.IntN(3)], h.rng.IntN(40), now+h.rng.Int64N(1<<40)))
		}
	case 5:
		heartbeat(func(b *wire.Heartbeat) {
			b.Bye, b.NoEdge, b.NoRepair = h.rng.IntN(2) == 0, h.rng.IntN(3) == 0, h.rng.IntN(3) == 0
			b.Full, b.Quarantined, b.Answer = h.rng.IntN(3) == 0, h.rng.IntN(3) == 0, h.rng.IntN(2) == 0
		})
	case 6:
		heartbeat(func(b *wire.Heartbeat) {
			b.Epoch, b.Seq, b.Digest, b.Records = h.rng.Uint64(), h.rng.Uint64(), h.rng.Uint64(), h.rng.IntN(1<<30)
		})
	case 7:
		heartbeat(func(b *wire.Heartbeat) {
			b.Seq = math.MaxUint64
			b.Merged = wire.Mark{Epoch: victim.cfg.Epoch, Seq: math.MaxUint64}
			b.Clock = b.Clock.Add(wire.Instant{Sec: h.rng.Int64N(1 << 50)})
			b.Clocks = wire.Clocks{Agree: 9, Known: 9}
		})
	case 8:
		for range h.rng.IntN(flood * heartbeatBurst / 50) {
			heartbeat(func(b *wire.Heartbeat) { b.Answer = true })
		}
	case 9:
		var digests [wire.Groups]uint64
		digests[h.rng.IntN(wire.Groups)] = 1
		for range h.rng.IntN(flood * comparisonBurst / 50) {
			sync(simRequest, wire.Sync{Kind: wire.RequestGroups, Last: true, Body: wire.AppendDigests(nil, &digests)})
		}
	case 10:
		body := wire.AppendBucket(nil, uint16(h.rng.IntN(wire.Buckets)), make([]uint64, h.rng.IntN(9)))
		sync(simRequest, wire.Sync{Kind: wire.RequestLines, Last: true, Both: true, Body: append(body, random(20)...)})
	case 11:
		m := wire.Sync{Kind: []wire.SyncKind{wire.ReplyBuckets, wire.ReplyLines}[h.rng.IntN(2)], ID: h.rng.Uint64(), Done: h.rng.Uint32(), Last: h.rng.IntN(2) == 0}
		if c := victim.edges[back].comparison; c != nil {
			m.ID = c.id
		}
		m.Body = []byte(record(s.name, h.rng.IntN(40), now))
		if h.rng.IntN(3) == 0 {
			m.Body = random(3000)
		}
		sync(simReply, m)
	case 12: // again and again
		again := bytes.Repeat([]byte(record("S0", 1, 1)), 300)
		for range h.rng.IntN(6 * flood) {
			frame(wire.Mark{}, string(again))
		}
	case 13:
		sync(simReply, wire.Sync{Kind: wire.SyncKind(h.rng.IntN(256))})
	}
}

// checkConduct fails if server i, which is not hostile, has put another such server into
// quarantine. A server that restarts when its clock is set right may leave a record behind
// that counts.
func (h *herd) checkConduct(i int) {
	s := h.servers[i]
	if i == h.hostile || s.Replica == nil {
		return
	}
	for _, d := range s.edges {
		if number(d.peer) != h.hostile && d.conduct.reason != "" {
			h.t.Fatalf("%s had %s in quarantine: %s", s.name, d.peer, d.conduct.reason)
		}
	}
}

// noteReady notes which servers have been ready since the last fault, and reports whether all
// have that are not excluded. A server that has been ready stays so; it may have to wait for a
// hostile neighbour, but not without end.
func (h *herd) noteReady(ready map[int]bool) bool {
	all := true
	for i, s := range h.servers {
		ready[i] = ready[i] || h.excluded(i) || s.Ready(h.clock(i), h.clock(i).Add(-time.Minute))
		all = all && ready[i]
	}
	return all
}
