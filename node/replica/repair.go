package replica

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"herd/node/wire"
)

// Repair makes two maps equal again after anything was lost between them: each
// side compares its map with the other's by digests and asks for the lines that
// it lacks (wire/sync.go has the messages). What it costs follows the difference,
// not the map. One side only ever learns; both ask, so both do.
//
// When: a neighbour comes up, messages of its were lost, its digest stays unequal
// on an edge where nothing changes, and every now and then. One comparison runs at
// a time, with one neighbour; what is asked for meanwhile is done once, after it.
// The asker asks for the next part when it has merged the last, so that a repair
// never has more than answerSize under way, whatever the load.

const (
	// Messages of answers hold about messageSize of lines or digests. An answer
	// ends after answerSize; the rest is asked for again.
	messageSize = 32 << 10
	answerSize  = 1 << 20
	// askBuckets and askSize bound a question for lines.
	askBuckets = 8192
	askSize    = 64 << 10
	// silence is how long an answer may pause before the repair is given up, and
	// tried again a little later.
	silence = 2 * time.Second
	// The first wait after a comparison that was set off by unequal digests and
	// brought nothing; each further one doubles it, up to Config.Repair.
	firstBackoff = time.Second
	// Greeting is how long a neighbour has to answer before it counts as away, and
	// unreadyCounts how long one that is not ready itself keeps us from being it.
	Greeting      = 500 * time.Millisecond
	unreadyCounts = 3 * time.Second
)

// repairState is what an edge knows of how the two maps stand.
type repairState struct {
	inStep  bool      // see InStep
	met     bool      // a comparison has put us in step, since the neighbour came up or messages were lost
	equal   bool      // the digests were, at the last beat
	due     time.Time // when to compare; zero: only when something happens
	why     string    // is it due
	again   time.Time // when to compare at the latest
	backoff time.Duration

	ours, theirs uint64 // digests, at the last beat at which they were unequal
}

// pull is the comparison that runs.
type pull struct {
	edge      int
	id        uint64
	why       string
	began     time.Time
	heard     time.Time // the last of its answers
	lossy     bool      // messages of the edge were lost since it began
	differing []uint16  // buckets yet to be asked for

	lines, news, bytes int
}

// InStep tells whether our map holds all that the neighbour at edge e had at some
// moment since it came up, and all its messages up to there: the digests were
// equal, or a comparison has ended.
func (r *Replica) InStep(e int) bool { return r.edges[e].up && r.edges[e].repair.inStep }

// Repairing tells whether a comparison with the neighbour at edge e runs.
func (r *Replica) Repairing(e int) bool { return r.pull != nil && r.pull.edge == e }

// Ready tells whether a server that greeted its neighbours at greeted may call
// itself ready: it is in step with all that live. Where repair is off it always
// is.
func (r *Replica) Ready(now, greeted time.Time) bool {
	if r.cfg.Repair == 0 {
		return true
	}
	for i := range r.edges {
		d := &r.edges[i]
		waited := now.Sub(greeted)
		switch {
		case !d.up && waited < Greeting,
			d.up && !d.repair.inStep && (d.beat.Ready || waited < unreadyCounts),
			d.up && !d.beat.Ready && !d.repair.equal && waited < unreadyCounts:
			return false
		}
	}
	return true
}

// planRepair starts the life of an edge that came up.
func (r *Replica) planRepair(e int, now time.Time) {
	s := &r.edges[e].repair
	*s = repairState{}
	if r.cfg.Repair > 0 {
		s.again = r.later(now)
		s.dueAt(now, "it came up")
	}
}

// later is when to compare again: Config.Repair from now, give or take a quarter,
// so that neighbours don't fall into step with each other.
func (r *Replica) later(now time.Time) time.Time {
	jitter := 0.75 + r.rng.Float64()/2
	return now.Add(time.Duration(jitter * float64(r.cfg.Repair)))
}

func (s *repairState) dueAt(at time.Time, why string) {
	if s.due.IsZero() || at.Before(s.due) {
		s.due, s.why = at, why
	}
}

// noteLoss makes a repair due where messages were lost.
func (r *Replica) noteLoss(e int, lost uint64, now time.Time) []Event {
	if lost == 0 {
		return nil
	}
	d := &r.edges[e]
	if r.cfg.Repair == 0 {
		d.merged = d.in // nobody will bring them
	}
	r.Lost(e, now)
	d.lost += lost
	d.counts.Lost += lost
	return d.tellLoss(now)
}

// tellLoss tells of lost messages, once a second at most: whoever falls behind is
// not to be held up by saying so.
func (d *edge) tellLoss(now time.Time) []Event {
	if d.lost == 0 || now.Sub(d.lossTold) < time.Second {
		return nil
	}
	text := fmt.Sprintf("messages of %s were lost, %d, the last before number %d", d.peer, d.lost, d.in.Seq)
	d.lost, d.lossTold = 0, now
	return []Event{{Gap, d.peer, text}}
}

// Lost says that messages of edge e were lost, we don't know how many: a repair is
// due.
func (r *Replica) Lost(e int, now time.Time) {
	if r.cfg.Repair == 0 || !r.edges[e].up {
		return
	}
	s := &r.edges[e].repair
	s.inStep, s.equal, s.met = false, false, false
	s.dueAt(now, wereLost)
	if r.pull != nil && r.pull.edge == e {
		r.pull.lossy = true
	}
}

// compareDigests sees what a beat says of the neighbour's map; before is the beat
// before it.
func (r *Replica) compareDigests(e int, before wire.Beat, now time.Time) {
	d := &r.edges[e]
	s := &d.repair
	if r.cfg.Repair == 0 {
		return
	}
	ours, theirs := r.records.Digest(), d.beat.Digest
	s.equal = ours == theirs
	switch {
	case s.equal:
		s.inStep, s.due, s.backoff = true, time.Time{}, 0
		d.merged = d.in
	case ours == s.ours && theirs == s.theirs && before.Epoch == d.beat.Epoch:
		s.dueAt(now.Add(s.backoff), unequal)
	}
	s.ours, s.theirs = ours, theirs
	if !now.Before(s.again) {
		s.again = r.later(now)
		s.dueAt(now, "it was time")
	}
}

// Why a comparison is due, where that makes a difference.
const (
	unequal  = "digests stayed unequal"
	wereLost = "messages were lost"
)

// dropRepair ends the comparison with edge e, if it runs, and plans none.
func (r *Replica) dropRepair(e int) {
	r.edges[e].repair = repairState{}
	if r.pull != nil && r.pull.edge == e {
		r.abandon()
	}
}

// abandon gives up the comparison that runs.
func (r *Replica) abandon() {
	r.edges[r.pull.edge].counts.Abandoned++
	r.pull = nil
}

// Repair is the question to send next, over edge e, if a comparison is due and
// none runs.
func (r *Replica) Repair(now time.Time) (e int, question []byte, ok bool) {
	if p := r.pull; p != nil {
		if now.Sub(p.heard) < silence {
			return 0, nil, false
		}
		r.abandon()
		r.edges[p.edge].repair.dueAt(now.Add(firstBackoff), p.why)
	}
	best := -1
	for i := range r.edges {
		d := &r.edges[i]
		if d.up && !d.repair.due.IsZero() && !now.Before(d.repair.due) && (best < 0 || d.repair.due.Before(r.edges[best].repair.due)) {
			best = i
		}
	}
	if best < 0 {
		return 0, nil, false
	}
	s := &r.edges[best].repair
	r.pulls++
	r.pull = &pull{edge: best, id: r.pulls, why: s.why, began: now, heard: now}
	s.due = time.Time{}
	body := make([]byte, 0, wire.Groups*8)
	if r.records.digests == nil {
		body = wire.AppendDigests(body, new([wire.Groups]uint64))
	} else {
		body = wire.AppendDigests(body, &r.records.digests.groups)
	}
	return best, wire.Sync{Kind: wire.AskGroups, ID: r.pull.id, Last: true, Body: body}.Append(nil), true
}

// Told takes in an answer that came over edge e. question is to be sent back
// over it, if not nil. ended says that the comparison has, and that the neighbour
// had better hear our beat: it may wait for us.
func (r *Replica) Told(e int, answer []byte, now time.Time) (question []byte, ended bool, events []Event, err error) {
	a, err := wire.ParseSync(answer)
	if err != nil {
		return nil, false, nil, err
	}
	p := r.pull
	if p == nil || p.edge != e || p.id != a.ID {
		// Of a comparison that was given up. Its lines count all the same: whoever
		// sent them no longer holds them ready for us. And all are told: who is
		// being compared with may have been looked at before.
		if a.Kind == wire.TellLines {
			_, err = r.mergeLines(e, a.Body, reported)
		}
		return nil, false, nil, err
	}
	counts := &r.edges[e].counts
	p.heard = now
	p.bytes += len(answer)
	counts.RepairBytes += uint64(len(answer))
	switch a.Kind {
	case wire.TellBuckets:
		err = wire.EachGroup(a.Body, func(group byte, theirs *[wire.Groups]uint64) {
			ours := new([wire.Groups]uint64)
			if r.records.digests != nil {
				ours = r.records.digests.group(group)
			}
			for i := range theirs {
				if theirs[i] != ours[i] {
					p.differing = append(p.differing, uint16(group)<<8|uint16(i))
				}
			}
		})
		if len(p.differing) > wire.Buckets {
			err = errors.New("more buckets differ than there are")
		}
	case wire.TellLines:
		var news int
		news, err = r.mergeLines(e, a.Body, repaired)
		lines := bytes.Count(a.Body, []byte("\n"))
		p.news, p.lines = p.news+news, p.lines+lines
		counts.RepairNews += uint64(news)
		counts.RepairLines += uint64(lines)
		if a.Last {
			p.differing = p.differing[min(int(a.Done), len(p.differing)):]
			if a.Done == 0 {
				err = errors.New("an answer that answers nothing")
			}
		}
	default:
		err = fmt.Errorf("message %q is no answer", a.Kind)
	}
	switch {
	case err != nil:
		r.abandon()
		r.edges[e].repair.dueAt(now.Add(firstBackoff), p.why)
		return nil, false, nil, err
	case !a.Last:
		return nil, false, nil, nil
	case len(p.differing) > 0:
		return r.askLines(p), false, nil, nil
	}
	return nil, true, r.finish(p, now), nil
}

// mergeLines merges the lines of an answer that came over edge e and returns how
// many were news.
func (r *Replica) mergeLines(e int, lines []byte, how how) (news int, err error) {
	r.records.MergeLines(lines, func(line []byte, id ID, outcome Outcome, badLine error) {
		if badLine != nil {
			err = badLine
			return
		}
		r.merged(id, line, outcome, e, how)
		if outcome == News {
			news++
		}
	})
	return news, err
}

// askLines is the question for the lines of the next buckets that differ.
func (r *Replica) askLines(p *pull) []byte {
	var body []byte
	var hashes []uint64
	for _, bucket := range p.differing[:min(len(p.differing), askBuckets)] {
		hashes = hashes[:0]
		r.records.eachIn(bucket, func(_ ID, hash uint64) { hashes = append(hashes, hash) })
		most := min(askSize, r.limit/2)
		if 8*len(hashes) > most { // somebody made up clients that fall into one bucket: ask for all of it
			hashes = nil
		}
		if len(body) > 0 && len(body)+8*len(hashes) > most {
			break
		}
		body = wire.AppendHave(body, bucket, hashes)
	}
	// The first time each is to learn what the other has. Later, what one side has
	// and the other lacks is mostly under way by the flood: two that always asked
	// back would never end.
	return wire.Sync{Kind: wire.AskLines, ID: p.id, Last: true, Both: !r.edges[p.edge].repair.met, Body: body}.Append(nil)
}

// finish ends a comparison: we are in step.
func (r *Replica) finish(p *pull, now time.Time) []Event {
	r.pull = nil
	d := &r.edges[p.edge]
	d.counts.Repairs++
	s := &d.repair
	if !p.lossy {
		s.inStep, s.met = true, true
		d.merged = d.in // the last answer came after all of them
	}
	if r.records.Digest() == d.beat.Digest {
		s.equal = true
	}
	s.again = r.later(now)
	switch {
	case p.news > 0 || p.why != unequal:
		s.backoff = 0
	default:
		s.backoff = min(max(2*s.backoff, firstBackoff), r.cfg.Repair)
	}
	if p.lines == 0 && p.why != wereLost { // nothing to tell, but that a loss cost nothing
		return nil
	}
	return []Event{{Repair, d.peer, fmt.Sprintf("compared with %s because %s: %d of %d lines were news, %d bytes in %v",
		d.peer, p.why, p.news, p.lines, p.bytes, now.Sub(p.began).Round(time.Millisecond))}}
}

// Answer is the answer to one question of a neighbour, made message by message.
type Answer struct {
	replica *Replica
	edge    int
	now     time.Time
	ask     wire.Sync
	groups  [wire.Groups]uint64 // AskGroups: theirs
	group   int                 // AskGroups: the next to look at
	done    uint32              // AskLines: buckets answered
	body    []byte              // AskLines: buckets not yet answered
	have    []uint64            // AskLines: what the asker has of one of them
	lines   []byte              // AskLines: answered and not yet in a message
	size    int                 // AskLines: of all that was answered
}

// Question takes in a question that came over edge e. Answer.Next makes the
// answer, which goes back over it.
func (r *Replica) Question(e int, question []byte, now time.Time) (*Answer, error) {
	if r.cfg.Repair == 0 {
		return nil, errors.New("repair is off here")
	}
	ask, err := wire.ParseSync(question)
	if err != nil {
		return nil, err
	}
	a := &Answer{replica: r, edge: e, now: now, ask: ask, body: ask.Body}
	switch ask.Kind {
	case wire.AskGroups:
		a.groups, err = wire.ParseDigests(ask.Body)
		return a, err
	case wire.AskLines:
		return a, nil
	}
	return nil, fmt.Errorf("message %q is no question", ask.Kind)
}

// Next is the next message of the answer; more tells whether there are others.
// Between calls the map may change.
func (a *Answer) Next() (message []byte, more bool, err error) {
	if a.ask.Kind == wire.AskGroups {
		message, more = a.nextGroups()
		return message, more, nil
	}
	return a.nextLines()
}

func (a *Answer) nextGroups() (message []byte, more bool) {
	m := wire.Sync{Kind: wire.TellBuckets, ID: a.ask.ID}
	d := a.replica.records.digests
	if d == nil { // we have nothing that they could lack
		if a.groups != [wire.Groups]uint64{} {
			a.replica.lacking(a.edge, a.now)
		}
		a.group = wire.Groups
	}
	for ; a.group < wire.Groups; a.group++ {
		if d.groups[a.group] == a.groups[a.group] {
			continue
		}
		if len(m.Body) > 0 && wire.SyncHead+len(m.Body)+wire.GroupSize > a.replica.limit {
			break
		}
		m.Body = wire.AppendGroup(m.Body, byte(a.group), d.group(byte(a.group)))
	}
	m.Last = a.group == wire.Groups
	return m.Append(nil), !m.Last
}

func (a *Answer) nextLines() (message []byte, more bool, err error) {
	room := a.replica.limit - wire.SyncHead
	for len(a.body) > 0 && len(a.lines) < room && a.size < answerSize {
		if err := a.takeBucket(); err != nil {
			return nil, false, err
		}
	}
	m := wire.Sync{Kind: wire.TellLines, ID: a.ask.ID, Done: a.done}
	cut := len(a.lines)
	if cut > room { // after as many whole lines as there is room for, one at least
		if cut = bytes.LastIndexByte(a.lines[:room], '\n') + 1; cut == 0 {
			cut = bytes.IndexByte(a.lines, '\n') + 1
		}
	}
	m.Body, a.lines = a.lines[:cut], a.lines[cut:]
	m.Last = len(a.lines) == 0 && (len(a.body) == 0 || a.size >= answerSize)
	return m.Append(nil), !m.Last, nil
}

// takeBucket adds to lines what the asker lacks of the next bucket.
func (a *Answer) takeBucket() (err error) {
	var bucket uint16
	if bucket, a.have, a.body, err = wire.CutHave(a.body, a.have[:0]); err != nil {
		return err
	}
	slices.Sort(a.have)
	before, shared := len(a.lines), 0
	a.replica.records.eachIn(bucket, func(id ID, hash uint64) {
		if _, known := slices.BinarySearch(a.have, hash); known {
			shared++
			return
		}
		a.lines = append(append(a.lines, a.replica.records.line(id)...), '\n')
		// Should this answer be lost, the asker asks again: it need not wait too.
		a.replica.edges[a.edge].drop(id)
	})
	if a.ask.Both && shared < len(a.have) {
		a.replica.lacking(a.edge, a.now)
	}
	a.size += len(a.lines) - before
	a.done++
	return nil
}

// lacking says that the neighbour at edge e has what we lack.
func (r *Replica) lacking(e int, now time.Time) {
	if r.edges[e].up {
		r.edges[e].repair.dueAt(now, "it has what we lack")
	}
}

// newRNG is the source of jitter: it need not be good, only unlike the
// neighbours'.
func newRNG(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
