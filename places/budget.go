package places

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Budget spends so many questions a day on a source and no more. Every question counts when it is asked, whatever comes
// of it.
type Budget struct {
	src   Source
	calls int
	reset func(time.Time) time.Time

	mu    sync.Mutex
	spent int
	until time.Time // when the day ends
}

// NewBudget returns a source that asks src calls times a day at most. reset says when the day ends that a time is in.
func NewBudget(src Source, calls int, reset func(time.Time) time.Time) *Budget {
	return &Budget{src: src, calls: calls, reset: reset}
}

// Nearby answers q. A spent budget is OVER_QUERY_LIMIT, and says how long.
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
	if !now.Before(b.until) {
		b.spent, b.until = 0, b.reset(now)
	}
	if b.spent >= b.calls {
		return &Error{
			Status:  StatusOverQueryLimit,
			Message: fmt.Sprintf("the day's budget of %d calls to the places source is spent", b.calls),
			Wait:    b.until.Sub(now),
		}
	}
	b.spent++
	return nil
}

// Share is what a budget of calls for a whole herd leaves each of its servers: server number i of n. The shares of all
// of them are the budget.
func Share(calls, i, n int) int {
	share := calls / n
	if i < calls%n {
		share++
	}
	return share
}

// UTCMidnight is the end of t's day in UTC, for sources without a day of their own.
func UTCMidnight(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
}
