package watch

import (
	"fmt"
	"time"

	"herd/bus/plural"
	"herd/node/status"
)

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
