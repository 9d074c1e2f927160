package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"herd/bus/natsbus"
	"herd/bus/topology"
	"herd/node/status"
)

// newView is a view of the herd A-B that has been connected for a time.
func newView(t *testing.T, now time.Time) *herdView {
	t.Helper()
	g, err := topology.Load("A-B")
	if err != nil {
		t.Fatal(err)
	}
	v := newHerdView(Config{Graph: func() *topology.Graph { return g }})
	v.replied, v.connected = now.Add(-time.Minute), true
	return v
}

// reply is what a server says of itself a number of seconds after it has started.
func reply(name, peer string, began time.Time, seconds float64, change func(*status.Server)) status.Server {
	s := status.Server{
		Server: name, Epoch: uint64(began.UnixNano()), Clock: began.Add(time.Duration(seconds * float64(time.Second))), Ready: true, Digest: "1",
		Edges: []status.Edge{{Peer: peer, Up: true, InStep: true, BeatAge: .5}},
	}
	if change != nil {
		change(&s)
	}
	return s
}

// TestAllStopped: when the page has stopped all servers, the herd is not silent: it is known to be down.
func TestAllStopped(t *testing.T) {
	t.Parallel()
	now := time.Now()
	v := newView(t, now)
	if s := v.snapshot(now, 1); !s.Silent {
		t.Error("the herd is not silent although nobody replies")
	}
	v.cfg.Controls = allStopped{}
	s := v.snapshot(now, 1)
	if s.Silent || s.Heard == nil || *s.Heard != 0 {
		t.Errorf("silent: %v, last heard %v s ago", s.Silent, s.Heard)
	}
	for _, one := range s.Servers {
		if one.State != Down || one.Why != "stopped by this page" {
			t.Errorf("%s is %s: %s", one.Name, one.State, one.Why)
		}
	}
}

// allStopped is the controls of a page that has stopped all servers.
type allStopped struct{ Controls }

func (allStopped) IsStopped(string) bool     { return true }
func (allStopped) IsCut(string, string) bool { return false }

// TestStates: how servers and edges are, by what they have replied.
func TestStates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	began := now.Add(-10 * time.Second)
	for _, tt := range []struct {
		name   string
		a, b   func(*status.Server) // nil for no reply
		change func(*herdView)
		polls  int           // that only B has replied to since
		at     time.Duration // since the replies
		stateA State
		edge   Step
		why    string // of the edge, or of A if that is not up
	}{
		{name: "well", a: func(*status.Server) {}, b: func(*status.Server) {}, stateA: Up, edge: InStep},
		{name: "silent", a: func(*status.Server) {}, b: func(*status.Server) {}, at: 3 * time.Second, polls: missedPolls, stateA: Down, edge: EdgeDown, why: "no reply"},
		{name: "silent as the others are", a: func(*status.Server) {}, b: func(*status.Server) {}, at: 2300 * time.Millisecond, stateA: Unknown, edge: EdgeUnknown, why: "no server replies"},
		{name: "silent, and the others are then", a: func(*status.Server) {}, b: func(*status.Server) {}, at: 6 * time.Second, polls: missedPolls, change: func(v *herdView) { v.replied = now }, stateA: Unknown, edge: EdgeUnknown, why: "no server replies"},
		{name: "not asked for a time", a: func(*status.Server) {}, b: func(*status.Server) {}, at: 3 * time.Second, polls: missedPolls - 1, stateA: Unknown, edge: EdgeUnknown, why: "no reply lately"},
		{name: "silent for a moment", a: func(*status.Server) {}, b: func(*status.Server) {}, at: 2 * time.Second, stateA: Up, edge: InStep},
		{name: "no bus", a: func(*status.Server) {}, b: func(*status.Server) {}, at: 3 * time.Second, change: func(v *herdView) { v.connected = false }, stateA: Unknown, edge: EdgeUnknown, why: "the bus is disconnected"},
		{name: "never replied", b: func(*status.Server) {}, polls: missedPolls, stateA: Down, edge: EdgeDown, why: "no reply"},
		{name: "asked a moment ago", b: func(*status.Server) {}, stateA: Unknown, edge: EdgeUnknown, why: "no reply yet"},
		{name: "starting", a: func(s *status.Server) { s.Ready, s.Why = false, "A: not yet in step with B" }, b: func(*status.Server) {}, stateA: Starting, edge: InStep, why: "not yet in step with B"},
		{name: "not ready", a: func(s *status.Server) { s.Ready, s.Why, s.Clock = false, "A: the journal fails", now.Add(time.Hour) }, b: func(*status.Server) {}, stateA: NotReady, edge: InStep, why: "the journal fails"},
		{name: "no longer ready", a: func(s *status.Server) { s.Ready, s.Why = false, "A: stopping" }, b: func(*status.Server) {}, change: func(v *herdView) { v.servers["A"].readyIn = v.servers["A"].now.Epoch }, stateA: NotReady, edge: InStep, why: "stopping"},
		{name: "edge down", a: func(s *status.Server) { s.Edges[0].Up, s.Edges[0].InStep = false, false }, b: func(*status.Server) {}, stateA: Up, edge: EdgeDown, why: "A receives no heartbeats of B"},
		{name: "edge refused", a: func(*status.Server) {}, b: func(s *status.Server) { s.Edges[0] = status.Edge{Peer: "A", Problem: "format 1"} }, stateA: Up, edge: EdgeDown, why: "format 1"},
		{name: "edge not listed", a: func(*status.Server) {}, b: func(s *status.Server) { s.Edges = nil }, stateA: Up, edge: EdgeDown, why: "B does not list A"},
		{name: "repairing", a: func(*status.Server) {}, b: func(s *status.Server) { s.Edges[0].InStep, s.Edges[0].Repairing = false, true }, stateA: Up, edge: Behind, why: "B compares its records with A"},
		{name: "queued", a: func(s *status.Server) { s.Edges[0].InStep, s.Edges[0].Waiting = false, 2 }, b: func(*status.Server) {}, stateA: Up, edge: Behind, why: "A has 2 records queued for B"},
	} {
		v := newView(t, now)
		if tt.a != nil {
			v.take(reply("A", "B", began, 10, tt.a), 1, now)
		}
		if tt.b != nil {
			v.take(reply("B", "A", began, 10, tt.b), 1, now)
		}
		for i := range tt.polls {
			v.take(reply("B", "A", began, 11, tt.b), i+2, now.Add(tt.at))
			v.endPoll(i + 2)
		}
		if tt.change != nil {
			tt.change(v)
		}
		s := v.snapshot(now.Add(tt.at), 1)
		a, e := s.Servers[0], s.Edges[0]
		why := e.Why
		if a.State != Up {
			why = a.Why
		}
		if a.State != tt.stateA || e.State != tt.edge || why != tt.why {
			t.Errorf("%s: A is %q (%s), the edge %q (%s); want %q, %q, %q", tt.name, a.State, a.Why, e.State, e.Why, tt.stateA, tt.edge, tt.why)
		}
		if tt.at > silentAfter && (a.In != nil || a.Sessions != nil || a.Heard == nil || *a.Heard != tt.at.Seconds()) {
			t.Errorf("%s: %+v shows what is old as new", tt.name, a)
		}
	}
}

// TestRates: rates are differences of two replies of one run of a server, by its clock.
func TestRates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	began := now.Add(-time.Minute)
	v := newView(t, now)
	counts := func(reports, sent, news uint64) func(*status.Server) {
		return func(s *status.Server) { s.Reports, s.Edges[0].Sent, s.Edges[0].News = reports, sent, news }
	}
	v.take(reply("A", "B", began, 10, counts(100, 50, 7)), 1, now)
	if s := v.snapshot(now, 1); s.Servers[0].In != nil || s.Edges[0].AB != nil {
		t.Errorf("rates after one reply: %+v", s)
	}
	v.take(reply("A", "B", began, 99, counts(0, 0, 0)), 1, now) // twice in one poll: the first counts
	v.take(reply("A", "B", began, 12, counts(120, 54, 8)), 2, now.Add(time.Second))
	s := v.snapshot(now.Add(time.Second), 2)
	if a := s.Servers[0]; a.In == nil || *a.In != 10.5 || *a.Out != 2 || s.Edges[0].AB == nil || *s.Edges[0].AB != 2 || s.Edges[0].BA != nil {
		encoded, _ := json.Marshal(s)
		t.Errorf("in 2 s: %s", encoded)
	}
	v.take(reply("A", "B", now, .5, counts(500, 500, 500)), 3, now.Add(2*time.Second)) // another run
	if s := v.snapshot(now.Add(2*time.Second), 3); s.Servers[0].In != nil || s.Edges[0].AB != nil {
		t.Errorf("rates across a restart: %+v", s)
	}
	v.take(reply("A", "B", now, 1.5, counts(502, 0, 501)), 4, now.Add(3*time.Second)) // the edge was replaced
	if s := v.snapshot(now.Add(3*time.Second), 4); s.Servers[0].Out != nil || s.Edges[0].AB != nil {
		t.Errorf("a rate of a counter that became less: %+v", s)
	}
}

// TestDifferences: which servers have the same records, since when they do not, and how they differ.
func TestDifferences(t *testing.T) {
	t.Parallel()
	now := time.Now()
	began := now.Add(-time.Minute)
	v := newView(t, now)
	records := func(n int, digest string, inStep bool) func(*status.Server) {
		return func(s *status.Server) { s.Records, s.Digest, s.Edges[0].InStep = n, digest, inStep }
	}
	for i, tt := range []struct {
		a, b  func(*status.Server)
		equal bool
		ago   float64 // -1 for unknown
		lines string
	}{
		{records(5, "a", false), records(3, "b", false), false, -1, "B has 2 clients fewer than A"},
		{records(5, "a", false), records(5, "a", false), true, 0, ""},
		{records(5, "a", true), records(4, "b", true), true, 0, ""}, // in step, while reports arrive
		{records(5, "a", true), records(5, "b", false), false, 1, "B has as many clients as A, but other records of some"},
		{records(4, "a", false), records(5, "b", false), false, 2, "A has 1 client fewer than B"},
	} {
		at := now.Add(time.Duration(i) * time.Second)
		v.take(reply("A", "B", began, float64(i), tt.a), i+1, at)
		v.take(reply("B", "A", began, float64(i), tt.b), i+1, at)
		s := v.snapshot(at, i+1)
		p := s.Pairs[0]
		if p.Equal != tt.equal || (p.Ago == nil) != (tt.ago < 0) || p.Ago != nil && *p.Ago != tt.ago || strings.Join(s.Differences, "; ") != tt.lines {
			t.Errorf("%d: %+v %q, want %v %v %q", i, p, s.Differences, tt.equal, tt.ago, tt.lines)
		}
	}
	s := v.snapshot(now.Add(10*time.Second), 9)
	if len(s.Differences) != 2 || s.Pairs[0].Equal || *s.Pairs[0].Ago != 8 {
		t.Errorf("without replies: %+v", s)
	}
}

// TestForgedReplies: on a bus without keys anybody may reply. What is remembered is bounded.
func TestForgedReplies(t *testing.T) {
	t.Parallel()
	now := time.Now()
	v := newView(t, now)
	for i := range 3 * maxStrangers {
		v.take(reply(fmt.Sprint("X", i), "A", now, 1, nil), 1, now)
	}
	v.take(reply("A", "B", now, 1, nil), 1, now) // of the topology
	for i := range 3 * maxArrivals {
		v.arrived(fmt.Appendf(nil, "line %d", i), "X0", "X1", now)
	}
	if len(v.servers) != maxStrangers+1 || len(v.floods.began) > maxArrivals || len(v.floods.order) > maxArrivals {
		t.Errorf("%d servers, %d floods", len(v.servers), len(v.floods.began))
	}
	herd := newFakeHerd()
	page, _ := startPage(t, herd, nil)
	told, leave := openLive(t, page)
	defer leave()
	link := herd.link(t)
	var take func(natsbus.Reply)
	await(t, "a request", func() bool {
		link.mu.Lock()
		defer link.mu.Unlock()
		take = link.take
		return take != nil
	})
	valid, _ := json.Marshal(reply("A", "B", now, 1, nil))
	take(natsbus.Reply{Server: "A", Data: []byte("{")})
	forged, _ := json.Marshal(reply("A", "B", now, 1, func(s *status.Server) { s.Digest = "forged" }))
	take(natsbus.Reply{Server: "B", Data: forged})
	take(natsbus.Reply{Server: "A", Data: forged, Err: errors.New("busy")})
	take(natsbus.Reply{Server: "A", Data: valid})
	await(t, "the reply that counts", func() bool { return strings.Contains(told(), `{"name":"A","state":"up"`) })
	if got := told(); strings.Contains(got, "forged") {
		t.Errorf("a reply of another server counts: %s", got)
	}
}
