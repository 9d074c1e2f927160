package places

import (
	"context"
	"fmt"
	"sync"
	"time"

	"herd/bus/plural"
)

// Budget limits the requests to a source per day. A request counts when it is sent, whether it succeeds or not.
type Budget struct {
	src       Source
	limit     int
	nextReset func(time.Time) time.Time

	mu      sync.Mutex
	used    int
	resetAt time.Time
}

// NewBudget returns a source that sends at most limit requests per day to src. nextReset returns the end of the day
// that contains the given time.
func NewBudget(src Source, limit int, nextReset func(time.Time) time.Time) *Budget {
	return &Budget{src: src, limit: limit, nextReset: nextReset}
}

// Nearby answers q. If the budget is used up, it returns OVER_QUERY_LIMIT with the time to the next reset as RetryAfter.
func (b *Budget) Nearby(ctx context.Context, q Query) ([]byte, error) {
	if err := b.spend(); err != nil {
		return nil, err
	}
	return b.src.Nearby(ctx, q)
}

func (b *Budget) spend() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !now.Before(b.resetAt) {
		b.used, b.resetAt = 0, b.nextReset(now)
	}
	if b.used >= b.limit {
		return &Error{
			Status:     StatusOverQueryLimit,
			Message:    fmt.Sprintf("the daily budget of %s to the places source is used up", plural.Count(b.limit, "request")),
			RetryAfter: b.resetAt.Sub(now),
		}
	}
	b.used++
	return nil
}

// Share returns the share of limit, the budget of a whole herd, for server number i of n. The shares of all servers add
// up to limit.
func Share(limit, i, n int) int {
	share := limit / n
	if i < limit%n {
		share++
	}
	return share
}

// NextUTCMidnight returns the end of t's UTC day. It is the reset time for services that do not define one.
func NextUTCMidnight(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
}
