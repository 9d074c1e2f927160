package replica

import "herd/node/store"

// journalQueue is the records that are not in the journal yet.
type journalQueue struct {
	queue    outbox
	inFlight []store.ID // handed out by NextJournalLines, and not yet reported by JournalDone
}

// Unjournalled is the number of clients whose newest record is not known to be in the
// journal.
func (r *Replica) Unjournalled() int { return r.journal.queue.length + len(r.journal.inFlight) }

// NextJournalLines appends to dst the next lines for the journal, each with its LF, until
// it has appended limit bytes or nothing is queued. JournalDone says what became of
// everything that was handed out since the last JournalDone.
func (r *Replica) NextJournalLines(dst []byte, limit int) (lines []byte, count int) {
	j := &r.journal
	for begin := len(dst); len(dst)-begin < limit; count++ {
		id, ok := j.queue.peek()
		if !ok {
			break
		}
		j.queue.pop(id)
		j.inFlight = append(j.inFlight, id)
		dst = append(append(dst, r.store.Line(id)...), '\n')
	}
	return dst, count
}

// JournalDone says whether all that was handed out is in the journal. If not, it is
// queued again, except for records that were removed meanwhile.
func (r *Replica) JournalDone(ok bool) {
	j := &r.journal
	for _, id := range j.inFlight {
		if !ok && r.store.Holds(id) {
			j.queue.push(id)
		}
	}
	j.inFlight = j.inFlight[:0]
}
