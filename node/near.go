package node

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"herd/bus"
	"herd/node/geo"
	"herd/node/nearest"
	"herd/node/replica"
	"herd/node/status"
	"herd/node/store"
	"herd/node/wire"
)

// Which clients are near a place: requests of tools. The first one makes an index of all
// clients. From then on each merge that is news queues its client, and a request first puts the
// queued clients into the index. So a server that is never asked pays nothing, and one that is
// asked seldom pays once for many changes of one client. An index that nobody asks is dropped.
//
// All work is done in slices, each with a budget, and the lock is free between them. Most
// searches need one slice. Others, such as one among a million clients at one point, go on
// while clients move: see nearest.NewLong.
const (
	// nearWork is the units of work (package nearest) of a slice: less than 1 ms. At most half
	// of it puts clients into the index, each for absorbWork, and the rest searches.
	nearWork   = 16_000
	absorbWork = 16
	// nearTries is how often a search begins that clients disturb, and nearTime how long a
	// request may take once its turn has come.
	nearTries = 4
	nearTime  = 20 * time.Second
	// nearWaiting is how many requests may wait for their turn.
	nearWaiting = 256
	// nearUnused is how long an index is kept that nobody asks.
	nearUnused = 10 * time.Minute
)

// nearby answers requests for the clients near a place.
type nearby struct {
	waiting atomic.Int64 // requests that wait or have their turn
	results [nearResults]atomic.Uint64
	took    [nearStages]latency

	// mu is held by the request whose turn it is, and taken before Node.mu.
	mu sync.Mutex

	// index is nil while there is none. Node.mu guards it and what follows.
	index *nearest.Index
	next  store.ID   // of the clients below end, the first that was never put into the index
	end   store.ID   // clients from here on were new after the index: they are queued
	moved []store.ID // taken from the queue, and to be put into the index; of batch
	batch [64]store.ID
	asked time.Time   // the last time
	drop  *time.Timer // drops the index
}

// nearResult is what became of a request.
type nearResult uint8

const (
	nearAnswered nearResult = iota
	nearMalformed
	nearUnknown
	nearBusy
	nearFailed
	nearResults // number of kinds
)

func (r nearResult) String() string {
	return [...]string{"answered", "malformed", "unknown", "busy", "unavailable"}[r]
}

// nearStage is what a slice did.
type nearStage uint8

const (
	nearAbsorb nearStage = iota // put clients into the index
	nearSearch
	nearStages // number of kinds
)

func (s nearStage) String() string { return [...]string{"absorb", "search"}[s] }

// near answers a request.
func (n *Node) near(request []byte) (reply bus.Reply, err error) {
	result := nearFailed
	defer func() {
		if p := recover(); p != nil {
			n.panics.Add(1)
			n.log.Error("panic in a request: it is refused", "endpoint", status.NearEndpoint.Name, "panic", p, "input", string(request), "stack", string(debug.Stack()))
			reply, err = bus.Reply{}, fmt.Errorf("%w: the server has a fault, which its log shows", bus.ErrUnavailable)
		}
		n.nearby.results[result].Add(1)
	}()
	reply, result, err = n.tryNear(request)
	return reply, err
}

func (n *Node) tryNear(request []byte) (reply bus.Reply, result nearResult, err error) {
	q, err := wire.ParseNear(request)
	if err != nil {
		return bus.Reply{}, nearMalformed, err
	}
	if !wait(context.Background(), n.ready.opened, time.Second) { // requests may arrive just before: see JoinShared
		return bus.Reply{}, nearFailed, fmt.Errorf("%w: the server is not ready", bus.ErrUnavailable)
	}
	w := &n.nearby
	if w.waiting.Add(1) > nearWaiting {
		w.waiting.Add(-1)
		n.toolRequests.refused.Add(1)
		return bus.Reply{}, nearBusy, fmt.Errorf("%w: %d requests wait already: ask again later", bus.ErrBusy, nearWaiting)
	}
	defer w.waiting.Add(-1)
	w.mu.Lock()
	defer w.mu.Unlock()
	t := nearTask{node: n, query: q, center: geo.Point{Lat: q.Lat, Lon: q.Lon}}
	for began := time.Now(); ; runtime.Gosched() {
		switch done, err := t.slice(); {
		case err != nil:
			return bus.Reply{}, nearUnknown, err
		case done:
			reply = bus.Reply{Data: t.reply}
			if t.leftOut > 0 {
				reply.Header = map[string]string{bus.LeftOutHeader: strconv.Itoa(t.leftOut)}
			}
			return reply, nearAnswered, nil
		case t.tries == 0 && time.Since(began) > nearTime:
			return bus.Reply{}, nearFailed, fmt.Errorf("%w: the index of the clients is not complete yet: ask again later", bus.ErrUnavailable)
		case t.gaveUp || time.Since(began) > nearTime:
			return bus.Reply{}, nearFailed, fmt.Errorf("%w: clients move faster than they can be compared: ask for a smaller radius, or again later", bus.ErrUnavailable)
		}
	}
}

// nearTask is a request whose turn it is.
type nearTask struct {
	node   *Node
	query  wire.Near
	center geo.Point

	search *nearest.Search // nil before it begins
	id     store.ID        // of query.Client, once the search has begun
	tries  int             // searches that were begun, the first a short one
	gaveUp bool            // clients have disturbed nearTries searches

	reply   []byte
	leftOut int
}

// slice does a bounded part of the task with the lock held.
func (t *nearTask) slice() (done bool, err error) {
	n := t.node
	n.mu.Lock()
	defer n.mu.Unlock()
	began := time.Now()
	work := t.absorb(began)
	absorbed := time.Now()
	n.nearby.took[nearAbsorb].observe(1, absorbed.Sub(began))
	if work <= 0 {
		return false, nil
	}
	defer func() { n.nearby.took[nearSearch].observe(1, time.Since(absorbed)) }()
	if t.search == nil {
		if t.tries == nearTries {
			t.gaveUp = true
			return false, nil
		}
		if err := t.begin(); err != nil {
			return false, err
		}
	}
	if _, done := t.search.Continue(work); !done {
		if t.tries == 1 { // it is not a short one
			t.search = nil
		}
		return false, nil
	}
	list, complete := t.search.Results()
	if !complete {
		t.search = nil
		return false, nil
	}
	t.answer(list)
	return true, nil
}

// locationHint is what to tell somebody who has asked for a client, but may have meant a location.
func locationHint(client []byte) string {
	if len(bytes.Trim(client, "+-.,0123456789")) > 0 {
		return ""
	}
	return " (a location looks like +34.07-118.45)"
}

// begin begins a search. The lock is held.
func (t *nearTask) begin() error {
	n, q := t.node, t.query
	source := nearSource{n.replica.Map(), func(id store.ID) bool { return n.replica.IsKnown(id, time.Now()) }}
	if q.Client != nil {
		var ok bool
		if t.id, ok = source.Find(q.Client); ok {
			t.center, _, ok = source.Position(t.id)
		}
		if !ok {
			return fmt.Errorf("%w: no client %.80q%s", bus.ErrUnknown, q.Client, locationHint(q.Client))
		}
	}
	if t.tries++; t.tries == 1 {
		t.search = nearest.New(n.nearby.index, source, t.center, q.KM, q.Limit)
	} else {
		t.search = nearest.NewLong(n.nearby.index, source, t.center, q.KM, q.Limit)
	}
	return nil
}

// absorb puts clients into the index that are not where it has them, and returns how much
// work is left for the search: none if there are more such clients. The lock is held.
func (t *nearTask) absorb(now time.Time) (work int) {
	n, w := t.node, &t.node.nearby
	source := nearSource{n.replica.Map(), n.replica.Map().IsKnown}
	if w.asked = now; w.index == nil {
		w.index, w.next, w.end, w.moved = new(nearest.Index), 0, source.End(), nil
		n.replica.TrackChanges(true)
		w.drop = time.AfterFunc(nearUnused, n.dropNear)
	}
	for work = nearWork; ; {
		if len(w.moved) == 0 {
			w.moved = w.nextMoved(n.replica, w.batch[:0])
			source.Prefetch(w.moved)
		}
		switch {
		case len(w.moved) == 0:
			return work
		case work < nearWork/2:
			return 0
		}
		id := w.moved[0]
		w.moved = w.moved[1:]
		p, size, ok := source.Position(id)
		if work -= absorbWork + size/nearest.BytesWork; ok {
			w.index.Set(id, p)
		} else {
			w.index.Remove(id)
		}
		if t.search != nil {
			t.search.Changed(id)
			if id == t.id && t.query.Client != nil && (!ok || p != t.center) {
				t.search = nil
			}
		}
	}
}

// nextMoved appends some clients that have to be put into the index: first those that were
// there before it, then those whose record has changed.
func (w *nearby) nextMoved(r *replica.Replica, dst []store.ID) []store.ID {
	for ; w.next < w.end && len(dst) < cap(dst); w.next++ {
		dst = append(dst, w.next)
	}
	return r.TakeChanged(dst, cap(dst))
}

// answer makes the reply: as many lines as fit into a message. Records that have expired meanwhile are left out. The lock is held.
func (t *nearTask) answer(list []nearest.Result) {
	m, limit := t.node.replica.Map(), t.node.cfg.Bus.MaxData()
	now := time.Now()
	list = slices.DeleteFunc(list, func(r nearest.Result) bool { return !t.node.replica.IsKnown(r.ID, now) })
	if len(list) > 0 {
		t.reply = make([]byte, 0, min(limit, len(list)*(len(m.Line(list[0].ID))+20)))
	}
	for i, r := range list {
		length := len(t.reply)
		if t.reply = wire.AppendFound(t.reply, r.KM, m.Line(r.ID)); len(t.reply) > limit {
			t.reply, t.leftOut = t.reply[:length], len(list)-i
			return
		}
	}
}

// dropNear drops the index if nobody has asked for nearUnused.
func (n *Node) dropNear() {
	w := &n.nearby
	w.mu.Lock()
	defer w.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if unused := time.Since(w.asked); unused < nearUnused {
		w.drop.Reset(nearUnused - unused)
		return
	}
	w.index, w.moved = nil, nil
	n.replica.TrackChanges(false)
}

// stats is the numbers of requests and index. Node.mu is held.
func (w *nearby) stats(r *replica.Replica) NearStats {
	s := NearStats{Requests: map[string]uint64{}, Took: map[string]Latency{}}
	for result := range nearResults {
		s.Requests[result.String()] = w.results[result].Load()
	}
	for stage := range nearStages {
		s.Took[stage.String()] = w.took[stage].read()
	}
	if w.index != nil {
		s.Records, s.Bytes = w.index.Len(), w.index.Bytes()
		s.Waiting = int(w.end-w.next) + len(w.moved) + r.Changed()
	}
	return s
}

// nearSource is the map as nearest.Source. For the index, isKnown goes by the marks of the map, which change only when
// the index is told. For a search it goes by the clock, so that expired records take no place among the results.
type nearSource struct {
	*store.Map
	isKnown func(store.ID) bool // of IDs that have a record
}

func (s nearSource) Prefetch(ids []store.ID) { s.PrefetchRecords(ids) }

func (s nearSource) Position(id store.ID) (p geo.Point, size int, ok bool) {
	if !s.Holds(id) || !s.isKnown(id) {
		return geo.Point{}, 0, false
	}
	client, location := s.ClientAndLocation(id)
	p.Lat, p.Lon, ok = wire.ParsePosition(location)
	return p, len(client) + len(location), ok
}

func (s nearSource) Client(id store.ID) []byte {
	if !s.Holds(id) { // it was removed, and the search is about to learn that
		return nil
	}
	client, _ := s.ClientAndLocation(id)
	return client
}
