package node

import (
	"context"
	"runtime"
	"time"
)

const (
	// expiryWork is the units of work (replica.Expire) that are done while the lock is held: less than 1 ms.
	expiryWork = 256
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
		for more := true; more && ctx.Err() == nil; runtime.Gosched() { // others want the lock
			n.locked(func() { more = n.replica.Expire(expiryWork) })
		}
	}
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
