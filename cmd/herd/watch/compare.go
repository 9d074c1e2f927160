package watch

import (
	"fmt"
	"time"

	"herd/bus/plural"
	"herd/bus/topology"
	"herd/node/status"
)

// compare says which servers have the same records. Two servers do if their digests are equal, or if
// edges that are in step connect them: while reports arrive, two maps are hardly ever equal at one moment.
func (v *herdView) compare(s *herdState, names []string, groups groups, now time.Time) {
	for i, a := range names {
		for _, b := range names[i+1:] {
			key := topology.Pair(a, b)
			one, other := v.fresh(a, now), v.fresh(b, now)
			p := pairState{A: a, B: b}
			if one != nil && other != nil && !v.stopped(a) && !v.stopped(b) {
				p.Equal = one.now.Digest == other.now.Digest || groups.same(a, b)
			}
			if p.Equal {
				v.equalAt[key] = now
			}
			if at, ok := v.equalAt[key]; ok {
				p.Ago = age(now, at)
			}
			s.Pairs = append(s.Pairs, p)
		}
	}
	s.Differences = append(s.Differences, v.differences(names, groups, now)...)
}

// differences says in words how the servers' records differ. The server with the most clients is what the others are compared with.
func (v *herdView) differences(names []string, groups groups, now time.Time) (lines []string) {
	var most *status.Server
	for _, name := range names {
		if one := v.fresh(name, now); one != nil && !v.stopped(name) && (most == nil || one.now.Records > most.Records) {
			most = &one.now
		}
	}
	for _, name := range names {
		one := v.fresh(name, now)
		switch {
		case one == nil || v.stopped(name):
			if v.connected && (v.stopped(name) || v.silent(now) || v.missed[name] >= missedPolls) {
				lines = append(lines, name+" does not reply: its records are not known")
			}
		case name == most.Server || one.now.Digest == most.Digest || groups.same(name, most.Server):
		case one.now.Records < most.Records:
			lines = append(lines, fmt.Sprintf("%s has %s fewer than %s", name, plural.Count(most.Records-one.now.Records, "client"), most.Server))
		default:
			lines = append(lines, fmt.Sprintf("%s has as many clients as %s, but other records of some", name, most.Server))
		}
	}
	return lines
}

// groups are sets of servers that edges in step connect. Each server has a representative of its set.
type groups map[string]string

func newGroups() groups { return groups{} }

func (g groups) find(name string) string {
	for next, ok := g[name]; ok && next != name; next, ok = g[name] {
		name = next
	}
	return name
}

func (g groups) join(a, b string) {
	if a, b = g.find(a), g.find(b); a != b {
		g[a] = b
	}
}

// same reports whether edges connect two servers.
func (g groups) same(a, b string) bool { return g.find(a) == g.find(b) }
