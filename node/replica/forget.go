package replica

import (
	"errors"
	"time"

	"herd/node/wire"
)

// Errors of Forget.
var (
	ErrUnknown     = errors.New("the client is unknown")
	ErrNoTombstone = wire.ErrNoTombstone
)

// Forget makes a client unknown: a tombstone takes the place of its record, and is queued for all neighbours. It appends the
// record that stands there then to dst, without LF. If that was a tombstone already, it stays.
func (r *Replica) Forget(dst, client []byte, now time.Time) (line []byte, err error) {
	id, held := r.store.Find(client) // it may be expired, and known again elsewhere or after a restart
	switch {
	case !held:
		return dst, ErrUnknown
	case r.store.IsTombstone(id):
		return append(dst, r.store.Line(id)...), nil
	}
	rec, err := wire.ParseRecord(r.store.Line(id))
	if err != nil {
		panic("the map holds a line that is not a record: " + string(r.store.Line(id))) // only parsed records are stored
	}
	line, tombstone, err := wire.AppendTombstone(dst, r.cfg.Name, rec, r.clock.Read(r.wall(now)))
	if err != nil {
		return dst, err
	}
	if !tombstone.WithinBounds() {
		return dst, ErrTooLong
	}
	id, outcome := r.store.Merge(tombstone)
	r.merged(id, tombstone.Line, outcome, noEdge, direct)
	return line, nil
}
