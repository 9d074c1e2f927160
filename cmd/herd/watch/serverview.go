package watch

import (
	"strings"
	"time"

	"herd/node/status"
)

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
	case v.silent(now):
		s.Why = "no server replies"
	case v.missed[name] < missedPolls && known == nil:
		s.Why = "no reply yet"
	case v.missed[name] < missedPolls:
		s.Why = "no reply lately"
	case known == nil && v.isElsewhere():
		s.Why = "no reply: the servers that reply have other names; is HERD_TOPOLOGY the herd's?"
	default:
		s.State, s.Why = Down, "no reply"
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
