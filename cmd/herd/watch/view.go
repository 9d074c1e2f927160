package watch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"herd/bus/plural"
	"herd/bus/printable"
	"herd/cmd/herd/watch/layout"
	"herd/node/status"
)

const (
	// silentAfter is after how long without a reply a server is down, or unknown while the bus is
	// disconnected. It is more than two polls.
	silentAfter = 2200 * time.Millisecond
	// startTime is how long a server that is not ready counts as one that starts.
	startTime = 30 * time.Second
	// maxServers bounds the servers that replies may add to those of the topology: anybody may
	// reply on a bus without keys.
	maxServers = 512
	// maxAddress is how many bytes of a server's address are shown.
	maxAddress = 100
	// maxArrivals bounds the records whose flood is timed.
	maxArrivals = 1024
)

// herdView is what is known of the herd.
type herdView struct {
	cfg       Config
	began     time.Time
	connected bool
	busError  error
	lastHeard time.Time // anything; zero for never
	servers   map[string]*seen
	names     []string          // of servers that replied, in the order of their first replies
	addresses map[string]string // for clients, by server
	drawing   *drawing
	equalAt   map[[2]string]time.Time // when two servers had the same records last
	floods    floods
}

// seen is what is known of a server.
type seen struct {
	now, before  status.Server // the last reply, and the one before
	at, beforeAt time.Time     // zero for none
	poll         int           // of the last reply
	readyIn      uint64        // the epoch in which it was ready last
	lag          time.Duration // of the last record whose flood was timed
	lagAt        time.Time
}

func newHerdView(cfg Config, d *drawing) *herdView {
	return &herdView{cfg: cfg, drawing: d, servers: map[string]*seen{}, addresses: map[string]string{}, equalAt: map[[2]string]time.Time{}, floods: newFloods()}
}

func (v *herdView) heard(at time.Time) { v.lastHeard = at }

// take takes the reply of a server.
func (v *herdView) take(s status.Server, poll int, at time.Time) {
	one := v.servers[s.Server]
	if one == nil {
		if len(v.servers) >= maxServers {
			return
		}
		one = &seen{}
		v.servers[s.Server] = one
		v.names = append(v.names, s.Server)
	}
	if !one.at.IsZero() && one.poll == poll {
		return // the first reply counts
	}
	one.before, one.beforeAt = one.now, one.at
	one.now, one.at, one.poll = s, at, poll
	if s.Ready {
		one.readyIn = s.Epoch
	}
}

// takeInfo takes the metadata of a server's service.
func (v *herdView) takeInfo(metadata map[string]string) {
	if name := metadata["server"]; v.servers[name] != nil {
		v.addresses[name] = printable.Clip(metadata["clients"], maxAddress)
	}
}

// graph is the servers and edges of the topology, and those that servers list in addition.
func (v *herdView) graph() (names []string, edges [][2]string) {
	g := v.cfg.Graph()
	names = g.Servers()
	has := map[string]bool{}
	for _, name := range names {
		has[name] = true
	}
	joined := map[[2]string]bool{}
	join := func(a, b string) {
		if key := pairOf(a, b); !joined[key] {
			joined[key] = true
			edges = append(edges, [2]string{a, b})
		}
	}
	for _, e := range g.Edges() {
		join(e.A, e.B)
	}
	for _, name := range v.names {
		if !has[name] {
			has[name] = true
			names = append(names, name)
		}
	}
	for _, name := range v.names {
		for _, e := range v.servers[name].now.Edges {
			if has[e.Peer] {
				join(name, e.Peer)
			}
		}
	}
	return names, edges
}

func pairOf(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// hello is the graph as pages draw it.
func (v *herdView) hello(names []string, edges [][2]string) hello {
	h := hello{Version: v.cfg.Version, Topology: v.cfg.Topology, Prefix: string(v.cfg.Prefix), Follow: true, Servers: []drawn{}, Edges: []edgeOfHerd{}}
	for _, e := range edges {
		h.Edges = append(h.Edges, edgeOfHerd{e[0], e[1]})
	}
	for i, at := range v.drawing.of(names, edges) {
		h.Servers = append(h.Servers, drawn{Name: names[i], X: at.X, Y: at.Y, Clients: v.addresses[names[i]]})
	}
	return h
}

// drawing is the last drawing of the graph. It takes a time for many servers.
type drawing struct {
	graph  string
	points []layout.Point
}

func (d *drawing) of(names []string, edges [][2]string) []layout.Point {
	if graph := fmt.Sprint(names, edges); d.points == nil || graph != d.graph {
		d.graph, d.points = graph, layout.Of(names, edges)
	}
	return d.points
}

// complete reports whether all servers have replied to a poll.
func (v *herdView) complete(poll int) bool {
	names, _ := v.graph()
	return !slices.ContainsFunc(names, func(name string) bool { one := v.servers[name]; return one == nil || one.poll != poll })
}

// arrived notes that a record was seen on its way to a server.
func (v *herdView) arrived(line []byte, from, to string, at time.Time) {
	if one := v.servers[to]; one != nil {
		if lag, first := v.floods.note(line, from, to, at); first {
			one.lag, one.lagAt = lag, at
		}
	}
}

// snapshot is the state of the herd after a poll.
func (v *herdView) snapshot(now time.Time, poll int) herdState {
	names, edges := v.graph()
	s := herdState{At: now.UnixMilli(), Bus: "disconnected", Servers: []serverState{}, Edges: []edgeState{}, Pairs: []pairState{}, Differences: []string{}}
	if v.connected {
		s.Bus = "connected"
	} else if v.busError != nil {
		s.BusWhy = v.busError.Error()
	}
	if !v.lastHeard.IsZero() {
		s.Heard = age(now, v.lastHeard)
	}
	states := map[string]State{}
	for _, name := range names {
		one := v.server(name, now)
		states[name] = one.State
		s.Servers = append(s.Servers, one)
	}
	groups := newGroups()
	for _, e := range edges {
		one := v.edge(e[0], e[1], states, now)
		if one.State == InStep {
			groups.join(e[0], e[1])
		}
		s.Edges = append(s.Edges, one)
	}
	v.compare(&s, names, groups, now)
	return s
}

// fresh returns what is known of a server that has replied lately; nil if it has not.
func (v *herdView) fresh(name string, now time.Time) *seen {
	if one := v.servers[name]; one != nil && now.Sub(one.at) <= silentAfter {
		return one
	}
	return nil
}

// stopped reports whether the controls have stopped a server.
func (v *herdView) stopped(name string) bool {
	return v.cfg.Controls != nil && v.cfg.Controls.IsStopped(name)
}

// server is the state of a server.
func (v *herdView) server(name string, now time.Time) serverState {
	s := serverState{Name: name, State: Unknown, Stopped: v.stopped(name)}
	known := v.servers[name]
	if known != nil {
		s.Heard = age(now, known.at)
		s.Clients, s.Digest = &known.now.Records, known.now.Digest
		s.Heartbeat = v.heartbeat(name, now)
	}
	one := v.fresh(name, now)
	switch {
	case s.Stopped:
		s.State, s.Why = Down, "stopped by this page"
	case one != nil && one.now.Ready:
		s.State, s.Why = Up, one.now.Bus
	case one != nil:
		s.State, s.Why = NotReady, strings.TrimPrefix(one.now.Why, name+": ")
		if began := time.Unix(0, int64(one.now.Epoch)); one.readyIn != one.now.Epoch && one.now.Clock.Sub(began) < startTime {
			s.State = Starting
		}
	case !v.connected:
		s.Why = "the bus is disconnected"
	case now.Sub(v.began) > silentAfter:
		s.State, s.Why = Down, "no reply"
	default:
		s.Why = "no reply yet"
	}
	if one != nil {
		s.Sessions = &one.now.Clients
		s.In, s.Out = one.rates()
		s.LagMs = v.lag(name, now)
	}
	return s
}

// rates are the records a second that a server has received and sent between its last two replies; nil
// if they are not known.
func (s *seen) rates() (in, out *float64) {
	seconds, ok := s.interval()
	if !ok {
		return nil, nil
	}
	var received, sent uint64
	received = s.now.Reports - s.before.Reports
	for _, e := range s.now.Edges {
		b := edgeTo(s.before, e.Peer)
		received += e.News + e.Duplicates + e.Stale - b.News - b.Duplicates - b.Stale
		sent += e.Sent - b.Sent
	}
	return perSecond(received, seconds), perSecond(sent, seconds)
}

// interval is the time between the last two replies, by the server's clock.
func (s *seen) interval() (seconds float64, ok bool) {
	seconds = s.now.Clock.Sub(s.before.Clock).Seconds()
	return seconds, !s.beforeAt.IsZero() && s.now.Epoch == s.before.Epoch && seconds > .05 && seconds < 60
}

// perSecond is a rate. A counter that has become less, because an edge was replaced, has none.
func perSecond(count uint64, seconds float64) *float64 {
	if int64(count) < 0 {
		return nil
	}
	rate := round(float64(count) / seconds)
	return &rate
}

func edgeTo(s status.Server, peer string) status.Edge {
	for _, e := range s.Edges {
		if e.Peer == peer {
			return e
		}
	}
	return status.Edge{}
}

// heartbeat is the age of a server's last heartbeat that a neighbour has received; nil if none is known.
func (v *herdView) heartbeat(name string, now time.Time) (least *float64) {
	for other := range v.servers {
		if a := v.heartbeatAge(name, other, now); a != nil && (least == nil || *a < *least) {
			least = a
		}
	}
	return least
}

// heartbeatAge is the age of the last heartbeat of one server at another; nil if it is not known.
func (v *herdView) heartbeatAge(from, to string, now time.Time) *float64 {
	one := v.servers[to]
	if one == nil {
		return nil
	}
	e := edgeTo(one.now, from)
	if e.Peer == "" || e.BeatAge < 0 {
		return nil
	}
	total := round(e.BeatAge + max(0, now.Sub(one.at).Seconds()))
	return &total
}

// edge is the state of an edge.
func (v *herdView) edge(a, b string, states map[string]State, now time.Time) edgeState {
	s := edgeState{A: a, B: b, State: EdgeUnknown, HeartbeatAB: v.heartbeatAge(a, b, now), HeartbeatBA: v.heartbeatAge(b, a, now)}
	s.AB, s.BA = v.sentRate(a, b, now), v.sentRate(b, a, now)
	if v.cfg.Controls != nil && v.cfg.Controls.IsCut(a, b) {
		s.State, s.Why = EdgeCut, "cut by this page"
		return s
	}
	for _, name := range []string{a, b} {
		if states[name] == Down {
			s.State, s.Why = EdgeDown, name+" is down"
			return s
		}
	}
	ends := [][2]string{{a, b}, {b, a}}
	known := 0
	for _, end := range ends {
		one := v.fresh(end[0], now)
		if one == nil {
			continue
		}
		known++
		e := edgeTo(one.now, end[1])
		switch {
		case e.Peer == "":
			s.State, s.Why = EdgeDown, fmt.Sprintf("%s does not list %s", end[0], end[1])
			return s
		case !e.Up:
			s.State, s.Why = EdgeDown, e.Problem
			if s.Why == "" {
				s.Why = fmt.Sprintf("%s receives no heartbeats of %s", end[0], end[1])
			}
			return s
		case !e.InStep && s.Why == "":
			s.State, s.Why = Behind, behind(end[0], end[1], e)
		}
	}
	if s.State == EdgeUnknown && known == 2 {
		s.State = InStep
	}
	return s
}

// behind says why a server is not in step with a neighbour.
func behind(name, peer string, e status.Edge) string {
	switch {
	case e.Problem != "":
		return e.Problem
	case e.Repairing:
		return fmt.Sprintf("%s compares its records with %s", name, peer)
	case e.Waiting > 0:
		return fmt.Sprintf("%s has %s queued for %s", name, plural.Count(e.Waiting, "record"), peer)
	}
	return fmt.Sprintf("%s is to compare its records with %s", name, peer)
}

// sentRate is the records a second from one server to a neighbour; nil if it is not known.
func (v *herdView) sentRate(from, to string, now time.Time) *float64 {
	one := v.fresh(from, now)
	if one == nil {
		return nil
	}
	seconds, ok := one.interval()
	if !ok || edgeTo(one.now, to).Peer == "" {
		return nil
	}
	return perSecond(edgeTo(one.now, to).Sent-edgeTo(one.before, to).Sent, seconds)
}

// lag is how far a server is behind, in milliseconds; nil if it is not known. If the edges are tapped, it is how long the last
// record took from the first edge to one that ends at the server. Otherwise it is how long what is queued
// for the server takes.
func (v *herdView) lag(name string, now time.Time) *float64 {
	var longest *float64
	for other := range v.servers {
		one := v.fresh(other, now)
		if one == nil {
			continue
		}
		e := edgeTo(one.now, name)
		rate := v.sentRate(other, name, now)
		if e.Peer == "" || rate == nil || *rate <= 0 {
			continue
		}
		if ms := round(1000 * float64(e.Waiting) / *rate); longest == nil || ms > *longest {
			longest = &ms
		}
	}
	if one := v.servers[name]; (longest == nil || *longest == 0) && one != nil && !one.lagAt.IsZero() && now.Sub(one.lagAt) < 10*time.Second {
		ms := round(one.lag.Seconds() * 1000)
		return &ms
	}
	return longest
}

// age is the time since then, in seconds.
func age(now, then time.Time) *float64 {
	seconds := round(max(0, now.Sub(then).Seconds()))
	return &seconds
}

// round rounds to three decimals.
func round(x float64) float64 { return float64(int64(x*1000+.5)) / 1000 }
