package places

import (
	"context"

	"golang.org/x/time/rate"
)

// RateLimiter limits the requests to a source per second. Excess queries wait, first come, first served. A query whose
// deadline would pass before its turn fails at once.
type RateLimiter struct {
	src     Source
	limiter *rate.Limiter
}

// NewRateLimiter returns a source that sends at most perSecond requests per second to src. Its burst size is perSecond
// as well.
func NewRateLimiter(src Source, perSecond int) *RateLimiter {
	return &RateLimiter{src, rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

// Nearby answers q.
func (r *RateLimiter) Nearby(ctx context.Context, q Query) ([]byte, error) {
	if err := r.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Status: StatusOverQueryLimit, Message: "too many requests per second to the places source", Err: err}
	}
	return r.src.Nearby(ctx, q)
}
