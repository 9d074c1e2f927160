package places

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxBackoff is the longest pause that doubling can reach.
const maxBackoff = 10 * time.Minute

// Breaker is a circuit breaker. An error with RetryAfter opens it: the source is paused until that time has passed.
// Meanwhile queries fail at once, with the status and message of that error.
//
// Consecutive pauses double, up to ten minutes, until a query succeeds. A longer RetryAfter is never shortened.
type Breaker struct {
	src Source

	mu        sync.Mutex
	openUntil time.Time // src is paused until then
	cause     *Error    // the error that opened the breaker
	pauses    int       // since the last success
}

// NewBreaker returns a source that queries src unless it is paused.
func NewBreaker(src Source) *Breaker { return &Breaker{src: src} }

// Nearby answers q.
func (b *Breaker) Nearby(ctx context.Context, q Query) ([]byte, error) {
	if err := b.paused(); err != nil {
		return nil, err
	}
	body, err := b.src.Nearby(ctx, q)
	b.record(err)
	return body, err
}

// paused returns an error while src is paused, otherwise nil.
func (b *Breaker) paused() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !time.Now().Before(b.openUntil) {
		return nil
	}
	return &Error{
		Status:  b.cause.Status,
		Message: b.cause.Message + " (paused until " + b.openUntil.UTC().Format("2006-01-02 15:04:05 MST") + ")",
		Err:     b.cause.Err,
	}
}

// record opens the breaker if err asks for a pause. It ignores errors of queries that began before a pause and ended
// during it.
func (b *Breaker) record(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var e *Error
	switch {
	case err == nil:
		b.pauses = 0
	case errors.As(err, &e) && e.RetryAfter > 0 && !now.Before(b.openUntil):
		pause := e.RetryAfter
		for range b.pauses {
			pause = max(e.RetryAfter, min(2*pause, maxBackoff))
		}
		b.pauses++
		b.openUntil, b.cause = now.Add(pause), e
	}
}
