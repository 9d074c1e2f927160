package replica

import (
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// receiptAhead is how far a receipt may be after the clock of its server.
var receiptAhead = wire.Instant{Sec: 24 * 60 * 60}

// claim is the latest receipt that the neighbour gave a record of its own since we judged
// that last.
type claim struct {
	receipt wire.Instant
	since   time.Time // when the first such record arrived; zero for none
	judged  time.Time // when the last claim was judged
}

// noteReading notes our own clock for isNotOurs.
func (r *Replica) noteReading(now time.Time) {
	r.notOurs = r.reading(now).Add(wire.Instant{Sec: receiptAhead.Sec / 2})
}

// isNotOurs reports whether the record that was just merged names us as its origin, and has a
// receipt that our clock has not reached: somebody has forged it, or we made it before we were
// restarted, while our clock was wrong. If we flooded it, our neighbours would blame us.
func (r *Replica) isNotOurs(id store.ID, line []byte) bool {
	if r.store.Effective(id).Compare(r.notOurs) <= 0 {
		return false
	}
	rec, err := wire.ParseRecord(line)
	return err == nil && string(rec.Server()) == r.cfg.Name && rec.Receipt.Compare(r.notOurs) > 0
}

const receiptsAhead = "its own records have receipts more than a day after its clock"

// noteReceipt notes the receipt of a record that was news, if it is more than a day after
// the neighbour's clock. Only records whose effective time is as far ahead do any harm, so
// others are not looked at.
func (d *edge) noteReceipt(line []byte, effective wire.Instant, now time.Time) {
	limit := d.heartbeat.Clock.Add(receiptAhead)
	if effective.Compare(limit) <= 0 || d.heard.IsZero() {
		return
	}
	rec, err := wire.ParseRecord(line)
	c := &d.conduct.claim
	if err != nil || string(rec.Server()) != d.peer || rec.Receipt.Compare(limit) <= 0 || rec.IsTombstone() {
		return // a tombstone's receipt follows that of the record which it replaces, and another server may have made that
	}
	if c.since.IsZero() {
		c.since, c.receipt = now, rec.Receipt
	}
	if rec.Receipt.Compare(c.receipt) > 0 {
		c.receipt = rec.Receipt
	}
}

// judgeReceipts judges the claim, once a second: with the next heartbeat, or when none has
// come for a while. A record may arrive before the heartbeat which shows that the clock was
// set forward.
func (r *Replica) judgeReceipts(e int, now time.Time) []Event {
	d := r.edges[e]
	c := d.conduct.claim
	if c.since.IsZero() || d.heard.Before(now) && now.Sub(c.since) < DownAfter || now.Sub(c.judged) < HeartbeatEvery {
		return nil
	}
	d.conduct.claim = claim{judged: now}
	if c.receipt.Compare(d.heartbeat.Clock.Add(receiptAhead)) <= 0 {
		return nil
	}
	return r.offence(e, lyingPoints, receiptsAhead, now)
}
