package places

import (
	"context"

	"golang.org/x/time/rate"
)

// Rate asks a source so many questions a second and no more. Questions wait for their turn, in the order in which they
// came; those that would have to wait longer than they have time fail at once.
type Rate struct {
	src     Source
	limiter *rate.Limiter
}

// NewRate returns a source that asks src at most perSecond questions a second, and after a rest so many at once.
func NewRate(src Source, perSecond int) *Rate {
	return &Rate{src, rate.NewLimiter(rate.Limit(perSecond), perSecond)}
}

// Nearby answers q.
func (r *Rate) Nearby(ctx context.Context, q Query) ([]byte, error) {
	if err := r.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Status: StatusOverQueryLimit, Message: "too many questions a second for the places source", Err: err}
	}
	return r.src.Nearby(ctx, q)
}
