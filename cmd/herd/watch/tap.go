package watch

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"strings"
	"time"
	"unicode/utf8"

	"herd/node/wire"
)

const (
	// tapBelow is the number of records a second on all edges below which the edges are tapped, and
	// tapAbove the number above which they no longer are.
	tapBelow = 50
	tapAbove = 100
	// tapBurst is how many records a tap takes within a second, and tapBytes how many bytes. Beyond either
	// the tap ends at once. A message without records counts as one.
	tapBurst = 1000
	tapBytes = 1 << 20
)

// tap is the subscription to the edges, which shows each record on its way. It costs the broker a
// message for each message on an edge, so it is on while there are few.
type tap struct {
	told     bool     // pages were told whether there is a tap
	on       bool     // pages know that there is
	run      *tapping // nil while none is wanted
	quietFor int      // polls in which there was little traffic
}

// tapping is one period in which the edges are tapped. It has a connection of its own, so that what it has yet
// to take delays nothing else, and is gone when it ends.
type tapping struct {
	hops  chan received
	began chan struct{} // closed when the edges are subscribed
	ended chan struct{} // closed when no more hops follow
	stop  context.CancelFunc
}

// channels returns what the collector waits for: the beginning, the end, and hops once pages know of the tap.
func (t *tap) channels() (began, ended <-chan struct{}, hops <-chan received) {
	switch {
	case t.run == nil:
		return nil, nil, nil
	case t.on:
		return nil, t.run.ended, t.run.hops
	}
	return t.run.began, t.run.ended, nil
}

// startTap begins to tap the edges.
func (c *collector) startTap() {
	ctx, cancel := context.WithCancel(c.ctx)
	t := &tapping{hops: make(chan received, tapBurst), began: make(chan struct{}), ended: make(chan struct{}), stop: cancel}
	c.tap.run = t
	c.all.Go(func() {
		defer close(t.ended)
		defer cancel()
		t.take(ctx, c.cfg)
	})
}

// take takes what is on the edges until ctx ends, the connection is lost, or there is too much.
func (t *tapping) take(ctx context.Context, cfg Config) {
	dialing, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	link, err := cfg.Herd.Connect(dialing)
	if err != nil {
		return
	}
	defer link.Close()
	tooMuch := make(chan struct{})
	isOver, second, records, size := false, time.Time{}, 0, 0
	stop, err := link.Subscribe(string(cfg.Prefix)+".edge.>", func(subject string, data []byte) {
		if isOver {
			return
		}
		now := time.Now()
		if now.Sub(second) > time.Second {
			second, records, size = now, 0, 0
		}
		records += max(1, bytes.Count(data, []byte("\n")))
		size += len(data)
		if records > tapBurst || size > tapBytes {
			isOver = true
			close(tooMuch)
			return
		}
		select {
		case t.hops <- received{subject: subject, data: data, at: now}:
		default: // dropped: hops are only shown
		}
	})
	if err != nil {
		return
	}
	defer stop()
	close(t.began)
	select {
	case <-tooMuch:
	case <-link.Done():
	case <-ctx.Done():
	}
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
	if c.tap.run != nil {
		limit = tapAbove
	}
	if total >= limit {
		c.tap.quietFor = 0
		return false
	}
	c.tap.quietFor++
	return c.tap.run != nil || c.tap.quietFor > 1 // rates are known after two polls
}

// setTap begins to tap the edges, or ends it.
func (c *collector) setTap(want bool) {
	switch {
	case want == (c.tap.run != nil):
	case want:
		c.startTap()
	default:
		c.tap.run.stop()
		c.tap.run = nil
		c.tellTap(false)
	}
}

// tellTap tells pages whether the edges are tapped, if that is a change. Hops that wait are of no more use without.
func (c *collector) tellTap(on bool) {
	if c.tap.told && on == c.tap.on {
		return
	}
	c.tap.told, c.tap.on = true, on
	encoded := message("tap", tapState{on})
	c.tell(func(t *told) { t.tap = encoded }, func(l *livePage) { l.setTap(encoded) })
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
