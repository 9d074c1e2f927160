package watch

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"herd/node/wire"
)

const (
	// tapBelow is the number of records a second on all edges below which the edges are tapped, and
	// tapAbove the number above which they no longer are.
	tapBelow = 50
	tapAbove = 100
	// tapBurst is how many messages a tap takes within a second. Beyond it the tap ends at once.
	tapBurst = 1000
)

// tap is the subscription to the edges, which shows each record on its way. It costs the broker a
// message for each message on an edge, so it is on while there are few.
type tap struct {
	on       bool
	stop     func()
	overrun  *atomic.Bool // it has taken too much
	quietFor int          // polls in which there was little traffic
}

// tapWanted reports whether the edges shall be tapped.
func (c *collector) tapWanted(s herdState) bool {
	total := 0.0
	for _, e := range s.Edges {
		for _, rate := range []*float64{e.AB, e.BA} {
			if rate != nil {
				total += *rate
			}
		}
	}
	limit := float64(tapBelow)
	if c.tap.on {
		limit = tapAbove
	}
	if total >= limit || c.tap.overrun != nil && c.tap.overrun.Load() {
		c.tap.quietFor = 0
		c.tap.overrun = nil
		return false
	}
	c.tap.quietFor++
	return c.tap.on || c.tap.quietFor > 1 // rates are known after two polls
}

// setTap turns the tap on or off, and tells pages if that is a change.
func (c *collector) setTap(on bool) {
	if on == c.tap.on {
		return
	}
	if c.tap.stop != nil {
		c.tap.stop()
		c.tap.stop = nil
	}
	if on {
		overrun, second, count := &atomic.Bool{}, time.Time{}, 0
		stop, err := c.link.Subscribe(string(c.cfg.Prefix)+".edge.>", func(subject string, data []byte) {
			if now := time.Now(); now.Sub(second) > time.Second {
				second, count = now, 0
			}
			if count++; count > tapBurst {
				overrun.Store(true)
				return
			}
			c.enqueue(subject, data)
		})
		if err != nil { // it ends the link
			return
		}
		c.tap.stop, c.tap.overrun = stop, overrun
	}
	c.tap.on = on
	encoded := message("tap", tapState{on})
	c.tell(func(t *told) { t.tap = encoded }, func(l *livePage) { l.tap = encoded })
}

// takeHop takes a message on an edge; subject is "<from>.<to>".
func (c *collector) takeHop(subject string, m received) {
	from, to, ok := strings.Cut(subject, ".")
	if !ok || strings.Contains(to, ".") || len(m.data) == 0 {
		return
	}
	h := hop{At: m.at.UnixMilli(), From: from, To: to, Lines: bytes.Count(m.data, []byte("\n"))}
	for line := range bytes.Lines(m.data) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		r, err := wire.ParseRecord(line)
		if err != nil {
			return
		}
		if h.Client == "" && h.ClientBase64 == "" {
			h.Client, h.ClientBase64 = textOrBase64(shortName(r.Client()))
		}
		c.state.arrived(line, from, to, m.at)
	}
	encoded := message("hop", h)
	c.tell(func(*told) {}, func(l *livePage) { l.addHop(encoded) })
}

// shortName is a client's name as a hop has it: a long one ends with a hash in place of the rest, so that names that
// begin alike stay different.
func shortName(name []byte) []byte {
	const most = 64 // letters: the page shows fewer
	letters, end := 0, 0
	for ; end < len(name) && letters < most; letters++ {
		_, size := utf8.DecodeRune(name[end:])
		end += size
	}
	if end == len(name) {
		return name
	}
	hash := fnv.New64a()
	hash.Write(name)
	return fmt.Appendf(bytes.Clone(name[:end]), "…%016x", hash.Sum64())
}

// textOrBase64 is a client's name as it is, or encoded if it is not UTF-8.
func textOrBase64(name []byte) (plain, encoded string) {
	if utf8.Valid(name) {
		return string(name), ""
	}
	return "", base64.StdEncoding.EncodeToString(name)
}
