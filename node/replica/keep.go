package replica

import (
	"time"

	"herd/node/store"
	"herd/node/wire"
)

// Records expire (Config.Keep) in two steps.
//
// First a record is expired, and its client unknown: Keep after its receipt, by our clock. Every answer
// checks that itself, against the cutoff: receipts up to it are expired. Within a second or two the record is
// marked, so that counts, followers and the index of places know it, too (expire.go).
//
// Then it leaves the map, with all others of its slot, a minute of receipts. That is when the floor has passed the slot: the
// floor is the lowest slot that we have. The floor follows the cutoff at a distance of expiryGrace. So all servers remove a
// slot at about the same time, and those that are a little late follow the floor that their neighbours'
// heartbeats show. Below the floor a record is stale, wherever it comes from. What lies below the higher floor of two
// neighbours they do not compare, request or send. So nothing that was removed comes back.
//
// Cutoff and floor do not rise while our clock may be wrong: keepclock.go.

// expiryGrace is how long after the end of its time the newest record of a slot is removed. Clocks that agree
// differ by less.
const expiryGrace = 2 * time.Minute

// keeping is the state of expiry. It is not used if keep is zero.
type keeping struct {
	keep  wire.Instant
	slot  int64 // length of a slot in seconds
	grace int64 // expiryGrace in seconds

	begun  bool // the cutoff has been set
	cutoff wire.Instant
	floor  int64 // 0 before the first; see wire.Heartbeat.Floor

	ready    time.Time // when BeginExpiry was called
	pause    pause
	reported pause // in an event
	trust    clockTrust

	wheel wheel
	expiring
}

func newKeeping(keep time.Duration) keeping {
	k := keeping{
		keep: wire.Instant{Sec: int64(keep / time.Second), Nsec: int32(keep % time.Second)},
		slot: wire.SlotSeconds, grace: int64(expiryGrace / time.Second),
	}
	if k.on() {
		k.pause, k.reported = notReady, notReady
		k.wheel = newWheel()
		k.expired = map[int64][]store.ID{}
	}
	return k
}

// on reports whether records expire at all.
func (k *keeping) on() bool { return k.keep != wire.Instant{} }

// slotOf is the slot of a time.
func (k *keeping) slotOf(sec int64) int64 {
	s := sec / k.slot
	if sec%k.slot < 0 {
		s--
	}
	return s
}

// BeginExpiry says that the server is ready: from the next tick on records may expire.
func (r *Replica) BeginExpiry(now time.Time) {
	k := &r.keep
	if k.on() && k.ready.IsZero() {
		k.ready, k.trust.since = now, now
	}
}

// wall is what our clock shows at now.
func (r *Replica) wall(now time.Time) wire.Instant {
	if r.cfg.Wall != nil {
		return r.cfg.Wall(now)
	}
	return wire.InstantOf(now)
}

// noteKeep looks at our clock and moves cutoff and floor. It is called with each tick.
func (r *Replica) noteKeep(now time.Time) (events []Event) {
	k := &r.keep
	if !k.on() {
		return nil
	}
	events = r.judgeTrust(now)
	k.pause = r.findPause()
	if k.pause == notPaused {
		r.moveCutoff(now)
	}
	k.wheel.setLimit(k.slotOf(r.wall(now).Sec) - filedBefore)
	if e, changed := r.reportPause(now); changed {
		events = append(events, e)
	}
	return events
}

// moveCutoff moves cutoff and floor with our clock, which is right: forward, or also back if it may have been wrong before. The floor
// follows a neighbour's as far as our own clock says that all below it is expired.
func (r *Replica) moveCutoff(now time.Time) {
	k := &r.keep
	t := &k.trust
	back := t.jumped || t.disputed
	t.jumped, t.disputed = false, false
	if cutoff := r.wall(now).Sub(k.keep); !k.begun || back || cutoff.Compare(k.cutoff) > 0 {
		k.cutoff, k.begun = cutoff, true
	}
	floor := k.slotOf(k.cutoff.Sec - k.grace)
	most := k.slotOf(k.cutoff.Sec)
	for _, d := range r.edges {
		if d.up && d.heartbeat.Keep == r.keepSeconds() {
			floor = max(floor, min(d.heartbeat.Floor, most))
		}
	}
	if !back {
		floor = max(floor, k.floor)
	}
	if !t.mayRemove(now) {
		floor = min(floor, k.floor)
	}
	r.setFloor(floor)
}

// lowerCutoff lowers cutoff and floor so far that no record is expired or stale that a neighbour keeps by its own clock. It is called
// while these clocks differ from ours: a client that reports at such a neighbour is known here, too.
func (r *Replica) lowerCutoff(differing []*edge) {
	k := &r.keep
	if !k.begun {
		return
	}
	for _, d := range differing {
		if cutoff := d.heartbeat.Clock.Sub(k.keep); cutoff.Compare(k.cutoff) < 0 {
			k.cutoff = cutoff
		}
	}
	r.setFloor(min(k.floor, k.slotOf(k.cutoff.Sec-k.grace)))
}

func (r *Replica) setFloor(floor int64) {
	const greatest = 1<<32 - 1 // in a heartbeat
	r.keep.floor = min(max(floor, 0), greatest)
	r.store.SetFloor(r.keep.floor * r.keep.slot)
}

// keepSeconds is Config.Keep for heartbeats.
func (r *Replica) keepSeconds() int64 { return r.keep.keep.Sec }

// cutoffAt is the cutoff at now. ok is false while there is none.
func (r *Replica) cutoffAt(now time.Time) (cutoff wire.Instant, ok bool) {
	k := &r.keep
	if k.on() && k.pause == notPaused && r.jump(now).Abs() <= clockJump {
		if cutoff := r.wall(now).Sub(k.keep); cutoff.Compare(k.cutoff) > 0 {
			return cutoff, true
		}
	}
	return k.cutoff, k.begun
}

// IsKnown reports whether the record of id makes its client known at now.
func (r *Replica) IsKnown(id store.ID, now time.Time) bool {
	if !r.store.Holds(id) || !r.store.IsKnown(id) {
		return false
	}
	cutoff, ok := r.cutoffAt(now)
	return !ok || r.store.Receipt(id).Compare(cutoff) > 0
}

// Record appends the record's line of a client that is known at now to dst, without LF.
func (r *Replica) Record(dst, client []byte, now time.Time) (line []byte, ok bool) {
	id, held := r.store.Find(client)
	if !held || !r.IsKnown(id, now) {
		return dst, false
	}
	return append(dst, r.store.Line(id)...), true
}

// isBelow reports whether the record of id is of a slot below another one.
func (r *Replica) isBelow(id store.ID, slot int64) bool {
	return slot != 0 && r.keep.slotOf(r.store.Receipt(id).Sec) < slot
}

// theirFloor is the floor of the neighbour at d, if it is higher than ours, and else 0.
func (r *Replica) theirFloor(d *edge) int64 {
	if floor := d.heartbeat.Floor; floor > r.keep.floor {
		return floor
	}
	return 0
}
