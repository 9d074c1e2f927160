package replica

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// What a step of FuzzNeighbour does. The upper bits of its byte say to whom: see target.
const (
	stepFrame     = iota // a frame arrives
	stepHeartbeat        // a heartbeat arrives
	stepRequest          // a request of repair arrives; the reply goes to the other replica
	stepReply            // a reply of repair arrives
	stepBegin            // the replica begins comparisons, whose requests are lost
	stepAltered          // the replica's own next request goes to the other one, with some bytes changed, and the reply comes back
	stepReport           // a client reports
	stepTime             // time passes
	stepSend             // queued records go to the other replica
	steps
)

// appendStep appends a step to a script.
func appendStep(script []byte, kind byte, payload []byte) []byte {
	script = binary.LittleEndian.AppendUint16(append(script, kind), uint16(len(payload)))
	return append(script, payload...)
}

// atB and fromOther change the target of a step, which is A, on its edge to a third
// server that is hostile.
const (
	atB       = 1 << 7
	fromOther = 1 << 6
)

// fuzzedLimit is the limit of B's map in bytes, which some scripts reach.
const fuzzedLimit = 20_000

// fuzzedPair is two neighbours, A and B, each of which also has a neighbour M. Whatever
// arrives from M is the fuzzer's.
type fuzzedPair struct {
	t        *testing.T
	replicas [2]*Replica
	now      time.Time
}

func newFuzzedPair(t *testing.T) *fuzzedPair {
	p := &fuzzedPair{t: t, now: time.Unix(1_700_000_000, 0)}
	for i, peers := range [][]string{{"B", "M"}, {"A", "M"}} {
		cfg := Config{Name: string(rune('A' + i)), Topology: Topology{Neighbours: peers, Hash: 7}, Epoch: uint64(1 + i), Repair: 30 * time.Second, Keep: 10 * time.Minute, Journal: true}
		if i == 1 {
			cfg.MaxBytes = fuzzedLimit
		}
		p.replicas[i] = New(cfg)
		p.replicas[i].BeginExpiry(p.now)
	}
	p.beat()
	return p
}

// beat sends the heartbeats between A and B.
func (p *fuzzedPair) beat() {
	for i, r := range p.replicas {
		r.HandleHeartbeat(0, p.replicas[1-i].Heartbeat(0, p.now), p.now)
	}
}

// run runs a script, up to its first step that is cut short.
func (p *fuzzedPair) run(script []byte) {
	for len(script) >= 3 {
		kind, n := script[0], int(binary.LittleEndian.Uint16(script[1:]))
		if script = script[3:]; n > len(script) {
			return
		}
		p.step(kind, script[:n:n])
		script = script[n:]
		p.checkBounds()
	}
}

func (p *fuzzedPair) step(kind byte, payload []byte) {
	to, edge := 0, 1
	if kind&atB != 0 {
		to = 1
	}
	if kind&fromOther != 0 {
		edge = 0
	}
	r := p.replicas[to]
	switch kind &^ (atB | fromOther) % steps {
	case stepFrame:
		var m wire.Mark
		if len(payload) >= 9 && payload[0] < 16 {
			m = wire.Mark{Epoch: uint64(payload[0]), Seq: binary.LittleEndian.Uint64(payload[1:])}
			payload = payload[9:]
		}
		r.Frame(edge, m, payload, p.now)
	case stepHeartbeat:
		if h, err := wire.ParseHeartbeat(payload); err == nil {
			r.HandleHeartbeat(edge, h, p.now)
		}
	case stepRequest:
		p.answer(to, edge, payload)
	case stepReply:
		r.HandleReply(edge, payload, p.now)
	case stepBegin:
		for _, _, ok := r.NextRequest(p.now); ok; _, _, ok = r.NextRequest(p.now) {
		}
	case stepAltered:
		for e, request, ok := r.NextRequest(p.now); ok; e, request, ok = r.NextRequest(p.now) {
			for e == 0 && request != nil {
				for i := 0; i+2 < len(payload); i += 3 { // offset, value
					request[int(binary.LittleEndian.Uint16(payload[i:]))%len(request)] ^= payload[i+2]
				}
				payload = payload[min(3, len(payload)):] // so that it ends
				request = p.answer(1-to, 0, request)
			}
		}
	case stepReport:
		r.IAmAt(nil, wire.Command{
			Verb: wire.IAmAt, Client: fmt.Appendf(nil, "c%x", payload[:min(2, len(payload))]), Location: []byte("+1+1"),
			TimeText: fmt.Append(nil, p.now.Unix()), Time: wire.Instant{Sec: p.now.Unix()},
		}, p.now)
	case stepTime:
		p.now = p.now.Add(time.Duration(len(payload)) * 100 * time.Millisecond)
		for _, r := range p.replicas {
			r.Tick(p.now)
			for r.Expire(100) {
			}
		}
		p.beat()
	case stepSend:
		for f := r.NextFrame(0, nil); f.Lines > 0; f = r.NextFrame(0, nil) {
			p.replicas[1-to].Frame(0, f.Mark, f.Data, p.now)
			r.FrameDone(0, Sent)
		}
	}
}

// answer lets a replica answer a request that arrived over an edge. If it was the honest
// one, the messages of the reply go to the other replica. It returns the next request.
func (p *fuzzedPair) answer(by, edge int, request []byte) (next []byte) {
	r := p.replicas[by]
	limit := replySize + r.store.Size() + wire.Groups*wire.GroupSize
	reply, _, err := r.HandleRequest(edge, request, p.now)
	if err != nil {
		return nil
	}
	sent := int64(0)
	for more := true; more; {
		var message []byte
		if message, more, err = reply.Next(); err != nil {
			return nil
		}
		reply.Sent()
		if sent += int64(len(message)); sent > 2*limit {
			p.t.Fatalf("a reply of %d bytes and more to %q", sent, request)
		}
		if edge == 0 {
			if result, err := p.replicas[1-by].HandleReply(0, message, p.now); err == nil {
				next = result.Request
			}
		}
	}
	return next
}

// checkBounds checks that what a replica keeps is bounded by the clients in its map.
func (p *fuzzedPair) checkBounds() {
	for _, r := range p.replicas {
		n := r.store.Len()
		for e, d := range r.edges {
			if queued := d.live.length + d.backlog.length + d.delayed.queue.length; queued > n || d.unsendable.length > n || d.deferred.length > n {
				p.t.Fatalf("%s: %d records are queued for edge %d, of %d clients", r.cfg.Name, queued, e, n)
			}
		}
		if limit := r.store.Limit(); limit > 0 && r.store.Bytes() > limit+limit/10 {
			p.t.Fatalf("%s: the map takes %d bytes, of a limit of %d", r.cfg.Name, r.store.Bytes(), limit)
		}
		if queued := r.Unjournalled(); queued > n {
			p.t.Fatalf("%s: %d records are queued for the journal, of %d clients", r.cfg.Name, queued, n)
		}
	}
}

// checkMaps checks that each map is what its own records make in another order, and that
// two servers that start with these two maps end with equal ones.
func (p *fuzzedPair) checkMaps() {
	healed := newRepairPair(p.t)
	var union store.Map
	for i, into := range []*Replica{healed.a, healed.b} {
		lines := sortedLines(p.replicas[i].Map())
		slices.Reverse(lines)
		for _, line := range lines {
			mergeLine(p.t, into, line)
			union.Merge(mustParse(p.t, line))
		}
		got, want := p.replicas[i].Map(), into.Map()
		if got.Digest() != want.Digest() || got.Groups() != want.Groups() || got.Len() != want.Len() || got.Size() != want.Size() {
			p.t.Fatalf("%s: digest %x of %d clients and %d bytes, but its records make %x, %d and %d",
				p.replicas[i].cfg.Name, got.Digest(), got.Len(), got.Size(), want.Digest(), want.Len(), want.Size())
		}
		for group := range wire.Groups {
			if got.Group(byte(group)) != want.Group(byte(group)) {
				p.t.Fatalf("%s: the digests of group %d are not those of its records", p.replicas[i].cfg.Name, group)
			}
		}
	}
	healed.heartbeats()
	healed.settle()
	for _, r := range []*Replica{healed.a, healed.b} {
		if got := sortedLines(r.Map()); !slices.Equal(got, sortedLines(&union)) {
			p.t.Fatalf("after a repair %s holds %q, want %q", r.cfg.Name, got, sortedLines(&union))
		}
	}
}

// realScript is what two neighbours say to each other until their maps are equal.
func realScript(t testing.TB) (script []byte) {
	p := newRepairPair(&testing.T{})
	for i := range 5 {
		mergeLine(t, p.a, fmt.Sprintf("AT A +1.000000000 a%d +34.068930-118.445127 1700000000", i))
		mergeLine(t, p.b, fmt.Sprintf("AT B -1.500000000 b%d +34.068930-118.445127 1700000000.25", i))
	}
	script = appendStep(script, stepHeartbeat, p.b.Heartbeat(0, p.now).Append(nil))
	script = appendStep(script, stepHeartbeat|atB, p.a.Heartbeat(0, p.now).Append(nil))
	p.heartbeats()
	_, request, _ := p.a.NextRequest(p.now)
	script = appendStep(script, stepBegin, nil)
	for request != nil {
		script = appendStep(script, stepRequest, request)
		reply, _, err := p.b.HandleRequest(0, request, p.now)
		if err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var message []byte
			if message, more, err = reply.Next(); err != nil {
				t.Fatal(err)
			}
			script = appendStep(script, stepReply|fromOther, message)
			result, err := p.a.HandleReply(0, message, p.now)
			if err != nil {
				t.Fatal(err)
			}
			request = result.Request
		}
	}
	return script
}

// FuzzNeighbour: whatever a neighbour sends, frames, heartbeats, requests and replies,
// two servers do not panic, keep no more than their maps allow, send no more than a
// reply's size, and their maps stay right and can be made equal.
func FuzzNeighbour(f *testing.F) {
	f.Add(realScript(f))
	var honest []byte
	for i := range byte(6) {
		honest = appendStep(honest, stepReport|atB*(i%2), []byte{i})
	}
	honest = appendStep(honest, stepFrame, append([]byte{9, 1, 0, 0, 0, 0, 0, 0, 0}, "AT M +1.000000000 kiwi +1+1 50\njunk\nAT M +1.000000000 kiwi +1+1 51"...))
	f.Add(appendStep(appendStep(honest, stepTime, make([]byte, 12)), stepAltered, nil))
	f.Add(appendStep(appendStep(honest, stepSend, nil), stepAltered|atB, []byte{0, 0, 1, 9, 0, 2, 14, 0, 255}))
	f.Add(appendStep(honest, stepHeartbeat, []byte("epoch=9 seq=18446744073709551615 merged=1/18446744073709551615 records=-1 digest=000000000000000f clock=999999999999999999.000000005 format=1 topology=0000000000000abc ready answer")))
	f.Add(appendStep(honest, stepRequest, wire.Sync{Kind: wire.RequestLines, ID: 1, Last: true, Both: true, Body: wire.AppendBucket(nil, 5, []uint64{1, 2, 3})}.Append(nil)))
	var many []byte
	for i := range 300 {
		many = fmt.Appendf(many, "AT M +1.000000000 client%d +1+1 50\n", i)
	}
	f.Add(appendStep(appendStep(appendStep(nil, stepFrame|atB, many), stepFrame, many), stepTime, make([]byte, 40)))
	f.Fuzz(func(t *testing.T, script []byte) {
		p := newFuzzedPair(t)
		p.run(script)
		p.checkMaps()
	})
}
