package places

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	attempts   = 3
	firstPause = 200 * time.Millisecond
)

// Retry asks again, twice at most, where a failure says that this may help (Error.Retry): 0.2 s later or so and then
// 0.4 s, by chance up to half as much more or less, so that those who failed together don't come together again. It
// fails at once where the time that is left would not suffice.
type Retry struct{ src Source }

// NewRetry returns a source that asks src again.
func NewRetry(src Source) *Retry { return &Retry{src} }

// Nearby answers q.
func (r *Retry) Nearby(ctx context.Context, q Query) (body []byte, err error) {
	pause := firstPause
	for range attempts - 1 {
		body, err = r.src.Nearby(ctx, q)
		var known *Error
		if err == nil || !errors.As(err, &known) || !known.Retry {
			return body, err
		}
		jittered := time.Duration((0.5 + rand.Float64()) * float64(pause))
		if end, ok := ctx.Deadline(); ok && time.Until(end) < jittered {
			return nil, err
		}
		select {
		case <-time.After(jittered):
		case <-ctx.Done():
			return nil, err
		}
		pause *= 2
	}
	return r.src.Nearby(ctx, q)
}
