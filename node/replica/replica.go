package replica

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"

	"herd/node/store"
	"herd/node/wire"
)

// Config describes one server and its place in the topology.
type Config struct {
	Name       string
	Topology   Topology // SetTopology replaces it
	Epoch      uint64   // identifies this run of the server; must differ from earlier runs
	MaxClients int      // beyond it, reports of new clients are refused; 0 for no limit. It does not bind neighbours
	MaxBytes   int64    // of the map: see store.Map.SetLimit; 0 for no limit. It binds neighbours, too: see Full

	Journal bool // queue news for a journal as well

	// OnMerge, if not nil, is called with each record that was merged. It must not call
	// the Replica.
	OnMerge func(Merged)

	// OnStream, if not nil, is called when a stream may have a frame: see NextStreamFrame. It must
	// not call the Replica.
	OnStream func()

	// Keep is how long after its receipt a record expires, in whole seconds; 0 for never. All servers should have the same.
	Keep time.Duration
	// Wall is what the server's clock shows at a time; nil for what the time says itself.
	Wall func(time.Time) wire.Instant

	Repair time.Duration // interval of scheduled comparisons with each neighbour; 0 turns all repair off
}

// Replica is the state of one server. See the package comment.
type Replica struct {
	cfg      Config
	topology Topology
	clock    wire.Clock
	store    store.Map
	edges    []*edge        // also those that were removed
	edgeTo   map[string]int // their numbers
	rng      *rand.Rand     // for jitter

	floodSeq   uint64 // see FloodSeq
	journalSeq uint64 // see JournalSeq
	journal    journalQueue
	streams    streams
	keep       keeping
	changed    *outbox // see TrackChanges; nil while off

	maxMessage int                    // bytes of data that the bus takes in one message
	adjacent   [][]bool               // by two edges: whether their neighbours are neighbours of each other
	delayOff   bool                   // see StopDelaying
	reports    [store.Outcomes]uint64 // reports of clients, by outcome
	refused    uint64                 // reports refused because of MaxClients
	full       bool                   // see Full
	notOurs    wire.Instant           // see isNotOurs

	comparisons uint64 // the ID of the last one that began

	own      ownClock
	lastTick time.Time
	resumed  time.Time // when we last noticed that this process had been suspended
}

// Errors of IAmAt.
var (
	ErrTooManyClients = errors.New("the map has Config.MaxClients clients")
	ErrFull           = errors.New("the map has no room in Config.MaxBytes")
	ErrTooLong        = errors.New("the record would be longer than wire.MaxRecord")
)

// New makes a Replica with an empty map and all edges down.
func New(cfg Config) *Replica {
	r := &Replica{
		cfg:        cfg,
		edgeTo:     map[string]int{},
		rng:        rand.New(rand.NewPCG(cfg.Epoch^xxhash.Sum64String(cfg.Name), 0)),
		maxMessage: messageSize, // until SetMaxMessage
		keep:       newKeeping(cfg.Keep),
	}
	r.store.SetLimit(cfg.MaxBytes)
	r.comparisons = r.rng.Uint64() // not an ID of an earlier run, whose replies may still arrive
	r.SetTopology(cfg.Topology, time.Time{})
	return r
}

// IAmAt makes a record of the IAMAT command c, received at the wall clock's now, and
// merges it. The record's line is appended to dst, without LF: it is the reply, whether
// it was news or not.
func (r *Replica) IAmAt(dst []byte, c wire.Command, now time.Time) (line []byte, news bool, err error) {
	if r.cfg.MaxClients > 0 && r.store.Known() >= r.cfg.MaxClients && !r.store.Has(c.Client) {
		r.refused++
		return dst, false, ErrTooManyClients
	}
	line, rec := wire.AppendRecord(dst, r.cfg.Name, c, r.clock.Read(r.wall(now)))
	if !rec.WithinBounds() {
		return dst, false, ErrTooLong
	}
	if r.keep.begun && rec.Receipt.Compare(r.keep.cutoff) <= 0 {
		r.noteSetBack(now)
	}
	id, outcome := r.store.Merge(rec)
	r.reports[outcome]++
	if outcome == store.Refused {
		r.noteRefused()
		return dst, false, ErrFull
	}
	r.merged(id, rec.Line, outcome, noEdge, direct)
	return line, outcome == store.News, nil
}

// Prefetch prepares for an IAmAt of each of these commands. It changes nothing but the
// time that they take.
func (r *Replica) Prefetch(commands []wire.Command) { r.store.Prefetch(commands) }

// Map is the records held. The caller must not change it.
func (r *Replica) Map() *store.Map { return &r.store }

// FrameResult counts the lines of one frame by the result of merging them.
type FrameResult struct {
	News, Duplicates, Stale int
	Refused                 int    // there is no room for them in the map
	Malformed               int    // lines that are no records; they are dropped
	LastMalformed           []byte // the last of them
}

// count counts a line, and reports whether it is a record.
func (f *FrameResult) count(outcome store.Outcome, line []byte, err error) bool {
	switch {
	case err != nil:
		f.Malformed++
		f.LastMalformed = line
		return false
	case outcome == store.News:
		f.News++
	case outcome == store.Duplicate:
		f.Duplicates++
	case outcome == store.Stale:
		f.Stale++
	case outcome == store.Refused:
		f.Refused++
	}
	return true
}

// Add adds the counts of other.
func (f *FrameResult) Add(other FrameResult) {
	f.News += other.News
	f.Duplicates += other.Duplicates
	f.Stale += other.Stale
	f.Refused += other.Refused
	f.Malformed += other.Malformed
	if other.LastMalformed != nil {
		f.LastMalformed = other.LastMalformed
	}
}

// Frame merges a frame of record lines that came over edge e. m is the frame's sequence
// mark. A frame without one, the zero Mark, is merged as well; it can show no gap.
// Lost messages come back as events.
//
// A frame of a neighbour in quarantine is dropped, see quarantine.go.
func (r *Replica) Frame(e int, m wire.Mark, frame []byte, now time.Time) (result FrameResult, events []Event) {
	d := r.edges[e]
	if d.quarantined(now) {
		return FrameResult{}, nil
	}
	r.noteReading(now)
	r.store.MergeLines(frame, func(line []byte, id store.ID, outcome store.Outcome, err error) {
		if !result.count(outcome, line, err) {
			return
		}
		r.merged(id, line, outcome, e, flooded)
		if outcome == store.News {
			d.noteReceipt(line, r.store.Effective(id), now)
		}
	})
	events = r.judgeFrame(e, m, frame, result, now)
	if m != (wire.Mark{}) && d.in.plausible(m, now) { // now: a frame that was not merged must not be confirmed
		before := d.in.merged
		events = append(events, r.noteLoss(e, d.in.arrived(m, now), now)...)
		if r.full {
			d.in.refused(m, before)
		}
	}
	d.counts.frameIn(result, len(frame))
	return result, events
}

// Replay merges a frame of the journal. Nothing is queued: neighbours learn it by repair.
// It returns the number of records and of malformed lines. MaxBytes does not bind it: what
// is in a journal was acknowledged.
//
// A line is in the journal only if it won when it was merged. So a line that loses to an earlier one, and was received later,
// was merged when that record had expired and left the map: it replaces the record. A line that was not received later is
// itself the older one: a crash during a compaction may change the order.
func (r *Replica) Replay(frame []byte) (records, malformed int) {
	r.store.SetLimit(0)
	defer r.store.SetLimit(r.cfg.MaxBytes)
	r.store.MergeLines(frame, func(line []byte, id store.ID, outcome store.Outcome, err error) {
		if err != nil {
			malformed++
			return
		}
		records++
		if outcome == store.Stale && r.replaceLater(id, line) {
			outcome = store.News
		}
		if outcome == store.News && r.keep.on() {
			r.noteNewsForExpiry(id, line)
		}
	})
	return records, malformed
}

// replaceLater replaces the record of id by a line of the same client that was received later. It reports whether it was.
func (r *Replica) replaceLater(id store.ID, line []byte) bool {
	rec, err := wire.ParseRecord(line)
	if err != nil || rec.Receipt.Compare(r.store.Receipt(id)) <= 0 {
		return false
	}
	r.store.Replace(id, rec)
	return true
}

// Merged is one record that was merged, for Config.OnMerge.
type Merged struct {
	Line    []byte // without LF, valid during the call
	Outcome store.Outcome
}

// source says how a record reached us.
type source uint8

const (
	direct   source = iota // a client reported it, or a neighbour sent it to us only
	flooded                // a neighbour sent it, as it did to its other neighbours
	repaired               // a comparison brought it
	restored               // an operator brought it
)

// noEdge is the edge number of a record that came over no edge.
const noEdge = -1

// merged queues the record that was just merged where it is needed.
func (r *Replica) merged(id store.ID, line []byte, outcome store.Outcome, from int, how source) {
	if outcome == store.Refused {
		r.noteRefused()
		return
	}
	if r.cfg.OnMerge != nil {
		r.cfg.OnMerge(Merged{line, outcome})
	}
	if outcome == store.News {
		r.floodSeq++
		r.journalSeq++
		if r.cfg.Journal {
			r.journal.queue.push(id)
		}
		if r.keep.on() {
			r.noteNewsForExpiry(id, line)
		}
		if len(r.streams.open) > 0 {
			r.noteForStreams(id)
		}
		if r.changed != nil {
			r.changed.push(id)
		}
		if (from != noEdge || how == restored) && r.cfg.Repair > 0 && r.isNotOurs(id, line) {
			for _, d := range r.edges {
				d.cancel(id) // who does not get it from another server gets it by repair
			}
			return
		}
	}
	for e, d := range r.edges {
		if d.removed {
			continue
		}
		switch r.forwarding(e, line, outcome, from, how) {
		case forwardNow:
			d.enqueue(id)
		case forwardLater:
			d.delay(id)
		case forwardIfDelayed:
			if d.delayed.queue.drop(id) {
				d.enqueue(id)
				r.floodSeq++
			}
		case cancelForwarding:
			d.cancel(id)
		case leaveAsIs:
		}
	}
}

// forwarding is what to do about a merged record on one edge.
type forwarding uint8

const (
	leaveAsIs forwarding = iota
	forwardNow
	forwardLater
	forwardIfDelayed
	cancelForwarding
)

// forwarding decides, in this order:
//
//	the record                  on the edge                              action
//	stale                       that it came over                        leave: ours is newer and queued or sent
//	news or duplicate           that it came over                        cancel: the neighbour has it
//	news by a repair            whose own repair has yet to look at it   leave: that repair brings it
//	news by the flood           whose neighbour got it from the sender   forward later, if it does not come back
//	other news                  any                                      forward now
//	a client's, not news        any                                      forward the winner now if it is delayed: it
//	                                                                     must leave before the reply to this report
func (r *Replica) forwarding(e int, line []byte, outcome store.Outcome, from int, how source) forwarding {
	news := outcome == store.News
	switch {
	case e == from && outcome == store.Stale:
		return leaveAsIs
	case e == from:
		return cancelForwarding
	case news && how == repaired && r.repairWillBring(e, line):
		return leaveAsIs
	case news && how == flooded && r.alsoReceives(e, from):
		return forwardLater
	case news:
		return forwardNow
	case from == noEdge:
		return forwardIfDelayed
	}
	return leaveAsIs
}

// repairWillBring reports whether a comparison on edge e, which is not in step, will tell
// the neighbour of the record that has just been merged: it begins later, or has yet to
// request the record's bucket.
func (r *Replica) repairWillBring(e int, line []byte) bool {
	d := r.edges[e]
	switch {
	case !d.up, d.sync.inStep, !r.repairs(e):
		return false
	case d.comparison == nil:
		return true
	}
	return d.comparison.willRequest(store.BucketOf(line))
}

// FloodSeq numbers the moments at which a record was queued for neighbours. When all
// that was queued at one value has been sent, so has all that was queued at lower ones.
func (r *Replica) FloodSeq() uint64 { return r.floodSeq }

// JournalSeq is FloodSeq for the journal: the number of merges that changed the map.
func (r *Replica) JournalSeq() uint64 { return r.journalSeq }
