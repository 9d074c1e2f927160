package node

import (
	"context"
	"time"
)

const (
	// expiryWork is the units of work (replica.Expire) that are done while the lock is held: about 0.3 ms. expiryRest is the time between
	// two such parts, so that others wait for few of them.
	expiryWork = 256
	expiryRest = time.Millisecond
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
		for n.expire() {
			if wait(ctx, nil, expiryRest); ctx.Err() != nil {
				return
			}
		}
	}
}

// expire does a part of the work, and reports whether there is more.
func (n *Node) expire() (more bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Expire(expiryWork)
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
