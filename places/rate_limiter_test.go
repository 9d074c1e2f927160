package places_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// A rate limiter delays excess queries. Those that would miss their deadline fail at once.
func TestRateLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{}
		r := places.NewRateLimiter(src, 10)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var rejected atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := r.Nearby(ctx, campus)
				var e *places.Error
				if errors.As(err, &e) && e.Status == places.StatusOverQueryLimit && e.RetryAfter == 0 {
					rejected.Add(1)
				}
			})
		}
		synctest.Wait()
		if src.calls.Load() != 10 || rejected.Load() != 60 {
			t.Errorf("at the start: %d calls, %d rejected, want 10 and 60", src.calls.Load(), rejected.Load())
		}
		wg.Wait()
		if src.calls.Load() != 40 {
			t.Errorf("after 3 s: %d calls, want 40", src.calls.Load())
		}
	})
}
