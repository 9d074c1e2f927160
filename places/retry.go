package places

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	maxAttempts    = 3
	initialBackoff = 200 * time.Millisecond
)

// Retry retries a query up to twice if its error is Retryable. The backoff is 0.2 s before the first retry and 0.4 s
// before the second, each with ±50 % random jitter. If the backoff would exceed the deadline, the query fails at once.
type Retry struct{ src Source }

// NewRetry returns a source that retries queries to src.
func NewRetry(src Source) *Retry { return &Retry{src} }

// Nearby answers q.
func (r *Retry) Nearby(ctx context.Context, q Query) (body []byte, err error) {
	backoff := initialBackoff
	for range maxAttempts - 1 {
		body, err = r.src.Nearby(ctx, q)
		var e *Error
		if err == nil || !errors.As(err, &e) || !e.Retryable {
			return body, err
		}
		jittered := time.Duration((0.5 + rand.Float64()) * float64(backoff))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < jittered {
			return nil, err
		}
		select {
		case <-time.After(jittered):
		case <-ctx.Done():
			return nil, err
		}
		backoff *= 2
	}
	return r.src.Nearby(ctx, q)
}
