package node

import (
	"context"
	"time"
)

const (
	// expiryWork is the units of work (replica.Expire) that are done while the lock is held: about 0.3 ms.
	expiryWork = 256
	// Between two such parts others have the processor and the lock: markRest while records are expired that are not marked yet, for
	// followers and counts wait for that. Removal is in no hurry: with expiredAtOnce records it rests for removeRest, with more of
	// them less, so that it keeps up with any load, but not less than minRest.
	markRest      = time.Millisecond
	removeRest    = 10 * time.Millisecond
	minRest       = 200 * time.Microsecond
	expiredAtOnce = 1_000_000
	// A journal keeps expired records until it is compacted. If it would not be otherwise, it is after half of
	// Config.Keep, but not before minExpiredInJournal, and after maxExpiredInJournal at the latest.
	minExpiredInJournal = 10 * time.Minute
	maxExpiredInJournal = 24 * time.Hour
)

// runExpiry lets records expire, each second and when woken, until ctx ends. The lock is free between two parts of the work.
func (n *Node) runExpiry(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.expiry:
		}
		for rest, more := n.expire(); more; rest, more = n.expire() {
			if wait(ctx, nil, rest); ctx.Err() != nil {
				return
			}
		}
	}
}

// expire does a part of the work, and reports whether there is more, and after which rest.
func (n *Node) expire() (rest time.Duration, more bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	more = n.replica.Expire(expiryWork)
	return expiryRest(n.replica.MarksDue(), n.replica.Map().Expired()), more
}

// expiryRest is the rest after a part of the work: see markRest.
func expiryRest(marksDue bool, expired int) time.Duration {
	if marksDue {
		return markRest
	}
	return max(removeRest*expiredAtOnce/time.Duration(max(expired, expiredAtOnce)), minRest)
}

// beginExpiry lets records expire from now on: the server is ready.
func (n *Node) beginExpiry() {
	n.locked(func() { n.replica.BeginExpiry(time.Now()) })
	signal(n.expiry)
}

// expiredInJournal is how long records that have expired may be in a journal.
func expiredInJournal(keep time.Duration) time.Duration {
	return min(max(keep/2, minExpiredInJournal), maxExpiredInJournal)
}

// holdsExpired reports whether the journal may have had expired records for too long. The lock is held.
func (n *Node) holdsExpired(now time.Time) bool {
	j := n.journal
	return n.replica.Expiry().Removed != j.removed && now.Sub(j.compacted) >= expiredInJournal(n.cfg.Keep)
}
