package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"herd/bus/plural"
)

// Herd is the state of all servers of a herd, and what is wrong with it.
type Herd struct {
	Servers  []Server `json:"servers"`
	Missing  []string `json:"missing"` // servers that did not reply
	Maps     Maps     `json:"maps"`
	Problems []string `json:"problems"` // one line each; empty if the herd is well

	order []string // Servers and Missing
}

// Maps says whether the servers' maps are equal.
type Maps string

// While reports arrive, two maps are hardly ever equal at one moment. So different maps
// are unequal only if they stay the same for a while.
const (
	Equal    Maps = "equal"
	Changing Maps = "changing" // they differ, and it is not known that they stay different
	Unequal  Maps = "unequal"  // two servers hold different records, and neither map changes
	Unknown  Maps = "unknown"  // not all servers replied
)

// Gather makes a Herd of the replies of servers. It contains the servers in names, the
// servers that replied, and the neighbours that the replies list: servers may have different
// topologies. Names come first, in their order, then the others in the order of the replies.
// If a server replied twice, its first reply counts.
//
// earlier is what Gather returned for replies from about a second ago; the zero Herd for
// none. It shows which maps change.
func Gather(names []string, replies []Server, earlier Herd) Herd {
	h := Herd{Servers: []Server{}, Missing: []string{}}
	replied := map[string]Server{}
	ours := names
	names = slices.Clone(names)
	for _, s := range replies {
		if _, twice := replied[s.Server]; !twice {
			replied[s.Server] = s
			names = append(names, s.Server)
		}
	}
	for _, s := range replies {
		for _, e := range s.Edges {
			names = append(names, e.Peer)
		}
	}
	known := map[string]bool{}
	for _, name := range names {
		if known[name] {
			continue
		}
		known[name] = true
		h.order = append(h.order, name)
		if s, ok := replied[name]; ok {
			h.Servers = append(h.Servers, s)
		} else {
			h.Missing = append(h.Missing, name)
		}
	}
	// A neighbour that does not reply may have been killed a moment ago.
	for i := range h.Servers {
		s := &h.Servers[i]
		s.Edges = slices.Clone(s.Edges)
		for k := range s.Edges {
			e := &s.Edges[k]
			e.InStep = e.InStep && !slices.Contains(h.Missing, e.Peer)
		}
	}
	h.Maps = h.compareMaps(earlier)
	foreign := len(h.Servers) > 0 && !slices.ContainsFunc(ours, func(name string) bool { _, ok := replied[name]; return ok })
	h.Problems = h.findProblems(foreign)
	return h
}

// Well reports whether all servers replied and are ready, all their edges are in step, and
// their maps are equal or change.
func (h Herd) Well() bool { return len(h.Problems) == 0 }

// InStep reports whether all servers replied, and each edge is in step at both its ends.
func (h Herd) InStep() bool {
	for _, s := range h.Servers {
		for _, e := range s.Edges {
			if !e.InStep || !h.lists(e.Peer, s.Server) {
				return false
			}
		}
	}
	return len(h.Missing) == 0
}

// server returns the state of a server that replied.
func (h Herd) server(name string) (s Server, ok bool) {
	i := slices.IndexFunc(h.Servers, func(s Server) bool { return s.Server == name })
	if i < 0 {
		return Server{}, false
	}
	return h.Servers[i], true
}

// lists reports whether a server replied and lists an edge to peer.
func (h Herd) lists(name, peer string) bool {
	s, _ := h.server(name)
	return slices.ContainsFunc(s.Edges, func(e Edge) bool { return e.Peer == peer })
}

// keeps lists after which time records expire at each server, if that differs.
func (h Herd) keeps() string {
	var all []string
	differ := false
	for _, s := range h.Servers {
		differ = differ || s.Keep != h.Servers[0].Keep
		all = append(all, s.Server+" "+cmp.Or(s.Keep, "unset"))
	}
	if !differ {
		return ""
	}
	return strings.Join(all, ", ")
}

func (h Herd) compareMaps(earlier Herd) Maps {
	if len(h.Missing) > 0 || len(h.Servers) == 0 {
		return Unknown
	}
	maps := Equal
	var resting []Server // servers whose maps have not changed
	for _, s := range h.Servers {
		if s.Digest != h.Servers[0].Digest {
			maps = Changing
		}
		if before, ok := earlier.server(s.Server); ok && before.Digest == s.Digest && before.Epoch == s.Epoch {
			resting = append(resting, s)
		}
	}
	for _, s := range resting {
		if s.Digest != resting[0].Digest {
			return Unequal
		}
	}
	return maps
}

// findProblems describes all that keeps the herd from being well. foreign says that no server
// has replied that was asked for: what follows from that is no problem of its own.
func (h Herd) findProblems(foreign bool) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	problems = []string{}
	if len(h.Servers) == 0 {
		problem("no server replied")
		return problems
	}
	if foreign {
		var names []string
		for _, s := range h.Servers {
			names = append(names, s.Server)
		}
		problem("the servers that reply have another topology (%s): is HERD_TOPOLOGY that of the herd?", strings.Join(names, ", "))
	}
	for _, name := range h.Missing {
		if foreign {
			break
		}
		problem("%s does not reply", name)
	}
	for _, s := range h.Servers {
		if !s.Ready {
			problem("not ready: %s", s.Why)
		}
		if s.Bus != "" && !strings.HasSuffix(s.Why, s.Bus) {
			problem("%s: %s", s.Server, s.Bus)
		}
	}
	for _, s := range h.Servers {
		for _, e := range s.Edges {
			_, replied := h.server(e.Peer)
			switch {
			case !replied: // said already
			case !h.lists(e.Peer, s.Server):
				problem("%s lists an edge to %s, which does not list it", s.Server, e.Peer)
			case !e.InStep && e.Problem != "":
				problem("%s: %s", s.Server, e.Problem)
			case !e.InStep:
				problem("%s is not in step with %s: %s", s.Server, e.Peer, e.state())
			}
			if e.Unsendable > 0 {
				problem("%s cannot send %s to %s: larger than NATS's max_payload, raise it", s.Server, plural.Count(e.Unsendable, "record"), e.Peer)
			}
		}
	}
	if parts := h.parts(); len(parts) > 1 && !foreign {
		problem("the edges do not connect all servers: %s", strings.Join(parts, " | "))
	}
	if keeps := h.keeps(); keeps != "" {
		problem("the servers have different HERD_KEEP: %s", keeps)
	}
	if h.Maps == Unequal {
		problem("the servers hold different records, and their maps do not change")
		for _, s := range h.Servers {
			if s.KeepPaused != "" {
				problem("records do not expire at %s: %s", s.Server, s.KeepPaused)
			}
		}
	}
	return problems
}

// parts is the sets of servers that edges connect, each as names. Only an edge that both
// its ends list counts; the edges of a server that did not reply count as its neighbours
// list them.
func (h Herd) parts() (parts []string) {
	edges := map[string][]string{}
	names := slices.Clone(h.Missing)
	for _, s := range h.Servers {
		names = append(names, s.Server)
		for _, e := range s.Edges {
			if slices.Contains(h.Missing, e.Peer) {
				edges[e.Peer] = append(edges[e.Peer], s.Server)
			} else if !h.lists(e.Peer, s.Server) {
				continue
			}
			edges[s.Server] = append(edges[s.Server], e.Peer)
		}
	}
	visited := map[string]bool{}
	for _, name := range names {
		if visited[name] {
			continue
		}
		visited[name] = true
		part := []string{name}
		for i := 0; i < len(part); i++ {
			for _, peer := range edges[part[i]] {
				if !visited[peer] {
					visited[peer] = true
					part = append(part, peer)
				}
			}
		}
		slices.Sort(part)
		parts = append(parts, strings.Join(part, " "))
	}
	slices.Sort(parts)
	return parts
}
