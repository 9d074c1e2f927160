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
	MaxClients int      // bound on clients that clients may bring; 0 is none. Neighbours are not bound

	Repair time.Duration // how often neighbours compare maps, beside the times they must; 0 turns repair off
}

// Replica is one server's map and edges. See the package's doc.
type Replica struct {
	cfg     Config
	clock   wire.Clock
	records Map
	edges   []edge

	pull  *pull  // nil while none runs
	pulls uint64 // how many there have been
	rng   *rand.Rand

	ticked time.Time // the last Tick
	slept  time.Time // the last one that came much too late: we did not run
}

// ErrFull is IAmAt's refusal of a new client beyond Config.MaxClients.
var ErrFull = errors.New("the map is full")

// New makes an empty Replica with all its edges down.
func New(cfg Config) *Replica {
	r := &Replica{cfg: cfg, edges: make([]edge, len(cfg.Neighbours)), rng: newRNG(cfg.Epoch ^ xxhash.Sum64String(cfg.Name))}
	for i, name := range cfg.Neighbours {
		r.edges[i].peer = name
	}
	return r
}

// IAmAt makes a record of the IAMAT command c, merges it, and marks news as
// wanted on every edge. wall is the wall clock now. The record's line is
// appended to dst, without LF: it is the reply, news or not.
func (r *Replica) IAmAt(dst []byte, c wire.Command, wall time.Time) (line []byte, news bool, err error) {
	if _, known := r.records.ids[string(c.Client)]; !known && r.cfg.MaxClients > 0 && r.records.Len() >= r.cfg.MaxClients {
		return dst, false, ErrFull
	}
	line, rec := wire.AppendRecord(dst, r.cfg.Name, c, r.clock.Read(wire.InstantOf(wall)))
	return line, r.merge(rec, fromClient, reported) == News, nil
}

// Get returns the record's line, without LF, that wins for a client.
func (r *Replica) Get(client []byte) (line string, ok bool) { return r.records.Get(client) }

// Map is the records held, to be read only.
func (r *Replica) Map() *Map { return &r.records }

// fromClient stands for the number of an edge where a record came over none.
const fromClient = -1

// How a record came: by the flood, a client's report included, or by repair.
const (
	reported = false
	repaired = true
)

// merge merges rec and, if it was news, wants it told to every neighbour but the
// one that told us. That one knows: what it told us need not be told back. What a
// repair brought is wanted on edges in step only: over the others a repair of
// their own will bring what is lacking, and no more.
func (r *Replica) merge(rec wire.Record, from int, how bool) Outcome {
	id, outcome := r.records.Merge(rec)
	for e := range r.edges {
		switch {
		case e == from && outcome != Stale:
			r.edges[e].out.drop(id)
		case e != from && outcome == News && (how == reported || r.InStep(e)):
			r.edges[e].out.want(id)
		}
	}
	return outcome
}

// Intake counts what one frame brought.
type Intake struct {
	News, Duplicates, Stale int
	Bad                     int    // lines that are no records, dropped
	FirstBad                []byte // the first of them
}

// Frame merges a frame that came over edge e. m is its mark; the zero Mark, a
// frame without headers, is merged too and not counted as a message of the edge.
// Gaps in the marks come back as events.
func (r *Replica) Frame(e int, m wire.Mark, frame []byte, now time.Time) (in Intake, events []Event) {
	if m != (wire.Mark{}) {
		events = r.noteLoss(e, r.edges[e].received(m, false), now)
	}
	eachLine(frame, func(line []byte) {
		rec, err := wire.ParseRecord(line)
		if err != nil {
			if in.Bad++; in.FirstBad == nil {
				in.FirstBad = line
			}
			return
		}
		switch r.merge(rec, e, reported) {
		case News:
			in.News++
		case Duplicate:
			in.Duplicates++
		case Stale:
			in.Stale++
		}
	})
	return in, events
}

// Waiting is how many clients' records edge e has yet to send, and whether it
// may send now: only to a neighbour that is up.
func (r *Replica) Waiting(e int) (n int, up bool) {
	return r.edges[e].out.length, r.edges[e].up
}

// Fill appends to dst the next frame for edge e: lines that are wanted, oldest
// first, each with its LF, until limit bytes; one line at least, however long. It
// returns the frame's mark and how many lines it has; none where nothing is
// wanted. Sent or Unsent must say what became of it before the next Fill of e.
func (r *Replica) Fill(e int, dst []byte, limit int) (frame []byte, m wire.Mark, lines int) {
	d := &r.edges[e]
	d.flight = d.flight[:0]
	for frame = dst; ; {
		id, ok := d.out.next()
		if !ok {
			break
		}
		line := r.records.entries[id].line
		if len(d.flight) > 0 && len(frame)-len(dst)+len(line)+1 > limit {
			break
		}
		d.out.pop(id)
		d.flight = append(d.flight, id)
		frame = append(append(frame, line...), '\n')
	}
	return frame, wire.Mark{Epoch: r.cfg.Epoch, Seq: d.sent + 1}, len(d.flight)
}

// Sent says that the frame of the last Fill of e was sent.
func (r *Replica) Sent(e int) { r.edges[e].sent++ }

// Unsent says that nothing of the last Fill of e was sent: its records wait
// again, and its mark will be the next frame's.
func (r *Replica) Unsent(e int) {
	for _, id := range r.edges[e].flight {
		r.edges[e].out.want(id)
	}
}
