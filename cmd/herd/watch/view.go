package watch

import (
	"fmt"
	"slices"
	"time"

	"herd/bus/printable"
	"herd/bus/topology"
	"herd/cmd/herd/watch/layout"
	"herd/node/status"
)

const (
	// silentAfter is after how long without a reply what is known of a server is old. It is more than two polls.
	silentAfter = 2200 * time.Millisecond
	// missedPolls is after how many polls without a reply a server is down. Polls to which nobody has replied do
	// not count: then the bus or this program may be what is slow.
	missedPolls = 2
	// startTime is how long a server that is not ready counts as one that starts.
	startTime = 30 * time.Second
	// maxStrangers bounds the servers that replies may add to those of the topology: anybody may
	// reply on a bus without keys.
	maxStrangers = 32
	// maxBusWhy is how many bytes are shown of the reason why the bus is not reachable.
	maxBusWhy = 200
	// maxAddress is how many bytes of a server's address are shown.
	maxAddress = 100
	// maxArrivals bounds the records whose flood is timed.
	maxArrivals = 1024
)

// herdView is what is known of the herd.
type herdView struct {
	cfg       Config
	connected bool
	busError  error
	lastHeard time.Time // anything; zero for never
	replied   time.Time // the last reply of any server, or the connection if that is newer
	servers   map[string]*seen
	names     []string                // of servers that replied, in the order of their first replies
	strangers int                     // of them, those that the topology lacked
	missed    map[string]int          // polls since a server's last reply that others have replied to
	addresses map[string]string       // for clients, by server
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

func newHerdView(cfg Config) *herdView {
	return &herdView{cfg: cfg, missed: map[string]int{}, servers: map[string]*seen{}, addresses: map[string]string{}, equalAt: map[[2]string]time.Time{}, floods: newFloods()}
}

func (v *herdView) heard(at time.Time) { v.lastHeard = at }

// take takes the reply of a server.
func (v *herdView) take(s status.Server, poll int, at time.Time) {
	one := v.servers[s.Server]
	if one == nil {
		if v.cfg.Graph().Index(s.Server) < 0 {
			if v.strangers >= maxStrangers {
				return
			}
			v.strangers++
		}
		one = &seen{}
		v.servers[s.Server] = one
		v.names = append(v.names, s.Server)
	}
	if !one.at.IsZero() && one.poll >= poll {
		return // the first reply counts
	}
	v.replied = at
	delete(v.missed, s.Server)
	one.before, one.beforeAt = one.now, one.at
	one.now, one.at, one.poll = s, at, poll
	if s.Ready {
		one.readyIn = s.Epoch
	}
}

// endPoll notes which servers have not replied to a poll, if any has.
func (v *herdView) endPoll(poll int) {
	silent := func(name string) bool { one := v.servers[name]; return one == nil || one.poll < poll }
	if !slices.ContainsFunc(v.names, func(name string) bool { return !silent(name) }) {
		return
	}
	names, _ := v.graph()
	for _, name := range names {
		if silent(name) {
			v.missed[name]++
		}
	}
}

// allStopped reports whether this page has stopped all servers.
func (v *herdView) allStopped(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !v.stopped(name) })
}

// silent reports whether no server at all has replied lately.
func (v *herdView) silent(now time.Time) bool {
	return v.connected && now.Sub(v.replied) > silentAfter
}

// isElsewhere reports whether servers reply, and none of the topology ever did.
func (v *herdView) isElsewhere() bool { return v.strangers > 0 && v.strangers == len(v.names) }

// followed returns the names of the servers that have replied lately. Those of the topology are first,
// since anybody may reply on a bus without keys.
func (v *herdView) followed(now time.Time) (names []string) {
	all, _ := v.graph()
	for _, name := range all {
		if v.fresh(name, now) != nil {
			names = append(names, name)
		}
	}
	return names
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
		if key := topology.Pair(a, b); !joined[key] {
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

// hello is the graph as pages draw it.
func (v *herdView) hello(names []string, edges [][2]string, points []layout.Point) hello {
	h := hello{Version: v.cfg.Version, Topology: v.cfg.Topology, Servers: []drawn{}, Edges: []edgeOfHerd{}}
	for _, e := range edges {
		h.Edges = append(h.Edges, edgeOfHerd{e[0], e[1]})
	}
	for i, at := range points {
		h.Servers = append(h.Servers, drawn{Name: names[i], X: at.X, Y: at.Y, Clients: v.addresses[names[i]]})
	}
	return h
}

// drawing is a drawing of a graph.
type drawing struct {
	graph  string // "" for none
	points []layout.Point
}

// draw is slow for many servers.
func draw(names []string, edges [][2]string) drawing {
	return drawing{fmt.Sprint(names, edges), layout.Of(names, edges)}
}

func (d drawing) isOf(names []string, edges [][2]string) bool {
	return d.graph == fmt.Sprint(names, edges)
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
		s.BusWhy = printable.Clip(v.busError.Error(), maxBusWhy)
	}
	if v.allStopped(names) { // that is known, although nobody replies
		s.Heard = age(now, now)
	} else if s.Silent = v.silent(now); s.Silent {
		s.Heard = age(now, v.replied)
	} else if !v.lastHeard.IsZero() {
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

// age is the time since then, in seconds.
func age(now, then time.Time) *float64 {
	seconds := round(max(0, now.Sub(then).Seconds()))
	return &seconds
}

// round rounds to three decimals.
func round(x float64) float64 { return float64(int64(x*1000+.5)) / 1000 }
