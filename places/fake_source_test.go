package places_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"herd/places"
)

// sourceFunc is a source that calls a function.
type sourceFunc func(context.Context, places.Query) ([]byte, error)

func (f sourceFunc) Nearby(ctx context.Context, q places.Query) ([]byte, error) { return f(ctx, q) }

// fixedSource returns a source that always returns body and err.
func fixedSource(body string, err error) sourceFunc {
	return func(context.Context, places.Query) ([]byte, error) { return []byte(body), err }
}

// countingSource counts its calls. Call number n takes delay and returns errs[n], or the last error once the list is
// used up. If that error is nil, or the list is empty, it returns the body "{n}".
type countingSource struct {
	calls atomic.Int64
	errs  []error
	delay time.Duration
}

func (s *countingSource) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	n := int(s.calls.Add(1)) - 1
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var err error
	if len(s.errs) > 0 {
		err = s.errs[min(n, len(s.errs)-1)]
	}
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "{%d}", n), nil
}

// overLimit returns an error that asks for a pause.
func overLimit(retryAfter time.Duration) error {
	return &places.Error{Status: places.StatusOverQueryLimit, Message: "over the limit", RetryAfter: retryAfter}
}

var errRetryable = &places.Error{Status: places.StatusUnknownError, Message: "try again", Retryable: true}

var campus = places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 10_000, Bound: 5}

// eastOfCampus returns a query for the point that many metres east of the campus.
func eastOfCampus(metres float64) places.Query {
	q := campus
	q.Lon += metres / 92_000
	return q
}

var discard = slog.New(slog.DiscardHandler)

// lockedBuffer is a log that goroutines may write while the test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
