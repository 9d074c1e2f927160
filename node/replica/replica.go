package replica

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"

	"herd/node/wire"
)

// Config is what a Replica is made of.
type Config struct {
	Name       string
	Neighbours []string // their order numbers the edges, from 0
	Epoch      uint64   // this life of the server: any value but an earlier life's
	Topology   uint64   // hash of the graph; neighbours must believe in the same
	// Adjacent tells whether the graph has an edge between two servers; nil where no two
	// neighbours have one.
	Adjacent   func(a, b string) bool
	MaxClients int // bound on clients that clients may bring; 0 is none. Neighbours are not bound

	Journal bool // news is wanted in a journal too

	// Follow is told of each merge as it is made, for whoever follows records on their
	// way; nil for nobody. It must not call the Replica.
	Follow func(Step)

	Repair time.Duration // how often neighbours compare maps, beside the times they must; 0 turns repair off
}

// Replica is one server's map and edges. See the package's doc.
type Replica struct {
	cfg             Config
	clock           wire.Clock
	records         Map
	edges           []edge
	beside          [][]bool  // whether the neighbours at two edges are neighbours
	presumesNothing bool      // see PresumeNothing
	news            uint64    // how many merges have been
	wants           uint64    // see Wants
	reports         [3]uint64 // of clients, by outcome
	full            uint64    // reports refused
	journal         struct {
		out    outbox
		flight []ID
	}

	limit int    // bytes of data of one message
	pull  *pull  // nil while none runs
	pulls uint64 // how many there have been
	rng   *rand.Rand

	ticked time.Time // the last Tick
	slept  time.Time // when we last noticed that we had not run for a while
}

// ErrFull is IAmAt's refusal of a new client beyond Config.MaxClients.
var ErrFull = errors.New("the map is full")

// New makes an empty Replica with all its edges down.
func New(cfg Config) *Replica {
	r := &Replica{cfg: cfg, edges: make([]edge, len(cfg.Neighbours)), limit: messageSize, rng: newRNG(cfg.Epoch ^ xxhash.Sum64String(cfg.Name))}
	for i, name := range cfg.Neighbours {
		r.edges[i].peer, r.edges[i].presumed = name, newPresumed(cfg.Name > name)
		beside := make([]bool, len(cfg.Neighbours))
		for j, other := range cfg.Neighbours {
			beside[j] = cfg.Adjacent != nil && cfg.Adjacent(name, other)
		}
		r.beside = append(r.beside, beside)
	}
	return r
}

// IAmAt makes a record of the IAMAT command c, merges it, and marks news as
// wanted on every edge. wall is the wall clock now. The record's line is
// appended to dst, without LF: it is the reply, news or not.
func (r *Replica) IAmAt(dst []byte, c wire.Command, wall time.Time) (line []byte, news bool, err error) {
	if r.cfg.MaxClients > 0 && r.records.Len() >= r.cfg.MaxClients && !r.records.Has(c.Client) {
		r.full++
		return dst, false, ErrFull
	}
	line, rec := wire.AppendRecord(dst, r.cfg.Name, c, r.clock.Read(wire.InstantOf(wall)))
	id, outcome := r.records.Merge(rec)
	r.reports[outcome]++
	r.merged(id, rec.Line, outcome, fromClient, reported)
	return line, outcome == News, nil
}

// Expect says that an IAmAt of each of these commands is about to follow. That
// changes nothing but what all of them cost.
func (r *Replica) Expect(commands []wire.Command) { r.records.expect(commands) }

// Get appends to dst the record's line, without LF, that wins for a client.
func (r *Replica) Get(dst, client []byte) (line []byte, ok bool) { return r.records.Get(dst, client) }

// Map is the records held, to be read only.
func (r *Replica) Map() *Map { return &r.records }

// fromClient stands for the number of an edge where a record came over none.
const fromClient = -1

// how a record came.
type how uint8

const (
	reported how = iota // by a client, or by a neighbour that does not tell others what it told us
	flooded             // by a neighbour that does
	repaired            // by a repair
)

// Step is what became of a record that was merged: what Config.Follow is told.
type Step struct {
	Line    []byte // without LF, good during the call
	Outcome Outcome
}

// merged takes note of what merging the record of a client came to. News is wanted
// by every neighbour but the one that told us. That one knows: what it told us need
// not be told back. Others may be presumed to know (presumed.go). What a repair
// brought is wanted on edges in step only: over the others a repair of their own will
// bring what is lacking, and no more.
func (r *Replica) merged(id ID, line []byte, outcome Outcome, from int, how how) {
	if r.cfg.Follow != nil {
		r.cfg.Follow(Step{line, outcome})
	}
	if outcome == News {
		r.news++
		r.wants++
		if r.cfg.Journal {
			r.journal.out.want(id)
		}
	}
	for e := range r.edges {
		d := &r.edges[e]
		switch {
		case e == from && outcome != Stale:
			d.drop(id)
		case e == from:
		case outcome == News && how == flooded && r.alsoTold(e, from):
			d.presume(id)
		case outcome == News && (how != repaired || r.InStep(e)):
			d.want(id)
		case from == fromClient && d.presumed.waiting.drop(id):
			d.out.want(id) // the reply to the report that lost is not to be ahead of the winner
			r.wants++
		}
	}
}

// Intake counts what one frame brought.
type Intake struct {
	News, Duplicates, Stale int
	Bad                     int    // lines that are no records, dropped
	LastBad                 []byte // the last of them
}

// Frame merges a frame that came over edge e. m is its mark; the zero Mark, a
// frame without headers, is merged too and not counted as a message of the edge.
// Gaps in the marks come back as events.
func (r *Replica) Frame(e int, m wire.Mark, frame []byte, now time.Time) (in Intake, events []Event) {
	if m != (wire.Mark{}) {
		events = r.noteLoss(e, r.edges[e].received(m, false), now)
	}
	r.records.MergeLines(frame, func(line []byte, id ID, outcome Outcome, err error) {
		if err != nil {
			in.Bad++
			in.LastBad = line
			return
		}
		r.merged(id, line, outcome, e, flooded)
		switch outcome {
		case News:
			in.News++
		case Duplicate:
			in.Duplicates++
		case Stale:
			in.Stale++
		}
	})
	r.edges[e].counts.frameIn(in, len(frame))
	return in, events
}

// Waiting is how many clients' records edge e has yet to send, and whether it
// may send now: only to a neighbour that is up.
func (r *Replica) Waiting(e int) (n int, up bool) {
	return r.edges[e].out.length, r.edges[e].up
}

// Fill appends to dst the next frame for edge e: lines that are wanted, oldest
// first, each with its LF, until the limit of a message; one line at least,
// however long. It returns the frame's mark and how many lines it has; none where
// nothing is wanted. Sent or Unsent must say what became of it before the next
// Fill of e; after neither of them the frame is given up.
func (r *Replica) Fill(e int, dst []byte) (frame []byte, m wire.Mark, lines int) {
	d := &r.edges[e]
	d.land()
	frame, d.flight = r.fill(&d.out, d.flight, dst, r.limit)
	d.flightSize = len(frame) - len(dst)
	for _, id := range d.flight {
		d.flying.set(id)
	}
	return frame, wire.Mark{Epoch: r.cfg.Epoch, Seq: d.sent + 1}, len(d.flight)
}

// fill takes clients out of o, adds them to flight, and appends their lines.
func (r *Replica) fill(o *outbox, flight []ID, dst []byte, limit int) ([]byte, []ID) {
	for begin, first := len(dst), true; ; first = false {
		id, ok := o.next()
		if !ok {
			return dst, flight
		}
		line := r.records.line(id)
		if !first && len(dst)-begin+len(line)+1 > limit {
			return dst, flight
		}
		o.pop(id)
		flight = append(flight, id)
		dst = append(append(dst, line...), '\n')
	}
}

// Sent says that the frame of the last Fill of e was sent.
func (r *Replica) Sent(e int) {
	d := &r.edges[e]
	d.sent++
	d.counts.frameOut(len(d.flight), d.flightSize)
	d.land()
}

// Unsent says that nothing of the last Fill of e was sent: its records wait
// again, but for what the neighbour has told us meanwhile, and its mark will be
// the next frame's.
func (r *Replica) Unsent(e int) {
	d := &r.edges[e]
	for _, id := range d.flight {
		if d.flying.has(id) {
			d.want(id)
		}
	}
	d.land()
}

// land forgets the last frame.
func (d *edge) land() {
	for _, id := range d.flight {
		d.flying.clear(id)
	}
	d.flight = d.flight[:0]
}

// Limit says how many bytes of data one message may have.
func (r *Replica) Limit(bytes int) { r.limit = min(messageSize, bytes) }

// Wants numbers the times when something came to be wanted on edges: whoever has
// flooded all that was wanted at one of them has flooded all that came before.
func (r *Replica) Wants() uint64 { return r.wants }

// News is how many merges have changed the map.
func (r *Replica) News() uint64 { return r.news }

// Replay merges a frame of the journal: nobody need be told of it. It returns how
// many of its lines were records, and how many none.
func (r *Replica) Replay(frame []byte) (good, bad int) {
	r.records.MergeLines(frame, func(_ []byte, _ ID, _ Outcome, err error) {
		if err != nil {
			bad++
		} else {
			good++
		}
	})
	return good, bad
}

// Unjournalled is how many clients' records have yet to go to the journal, and those
// of which Journalled has not said yet that they are there.
func (r *Replica) Unjournalled() int { return r.journal.out.length + len(r.journal.flight) }

// FillJournal is Fill for the journal. Several may be filled before Journalled
// says what became of all of them.
func (r *Replica) FillJournal(dst []byte, limit int) (frame []byte, lines int) {
	before := len(r.journal.flight)
	frame, r.journal.flight = r.fill(&r.journal.out, r.journal.flight, dst, limit)
	return frame, len(r.journal.flight) - before
}

// Journalled says whether all that was filled is in the journal. If not, it waits
// again.
func (r *Replica) Journalled(ok bool) {
	for _, id := range r.journal.flight {
		if !ok {
			r.journal.out.want(id)
		}
	}
	r.journal.flight = r.journal.flight[:0]
}
