package places_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// A breaker pauses its source for RetryAfter, and doubles consecutive pauses.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{errs: []error{
			overLimit(time.Minute), overLimit(time.Minute), overLimit(time.Minute), overLimit(time.Minute), overLimit(time.Minute), overLimit(5 * time.Hour), overLimit(time.Minute), nil,
			overLimit(time.Minute), nil,
		}}
		b := places.NewBreaker(src)
		var calls int64
		for _, minutes := range []time.Duration{1, 2, 4, 8, 10, 300, 10, 0, 1, 0} {
			calls++
			_, err := b.Nearby(t.Context(), campus)
			if got := src.calls.Load(); got != calls {
				t.Fatalf("%d calls, want %d", got, calls)
			}
			if minutes == 0 {
				if err != nil {
					t.Errorf("Nearby = %v, want a response", err)
				}
				continue
			}
			time.Sleep(minutes*time.Minute - time.Second)
			var e *places.Error
			_, err = b.Nearby(t.Context(), campus)
			if !errors.As(err, &e) || e.Status != places.StatusOverQueryLimit || !strings.HasPrefix(e.Message, "over the limit (paused until 2000-01-01 ") {
				t.Errorf("during the pause: %v", err)
			}
			if got := src.calls.Load(); got != calls {
				t.Errorf("%d calls just before the end of a pause of %d minutes, want %d", got, minutes, calls)
			}
			time.Sleep(time.Second)
		}
	})
}

// Errors of queries that began before the pause do not make it longer.
func TestBreakerConcurrentErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{delay: time.Second, errs: []error{overLimit(time.Minute)}}
		b := places.NewBreaker(src)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { b.Nearby(t.Context(), campus) })
		}
		wg.Wait()
		time.Sleep(time.Minute)
		b.Nearby(t.Context(), campus)
		if got := src.calls.Load(); got != 21 {
			t.Errorf("%d calls, want 20 and one more after a minute", got)
		}
	})
}

// Errors without RetryAfter do not open a breaker.
func TestBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	src := &countingSource{errs: []error{errRetryable, errors.New("x"), overLimit(0), nil}}
	b := places.NewBreaker(src)
	for range 4 {
		b.Nearby(t.Context(), campus)
	}
	if got := src.calls.Load(); got != 4 {
		t.Errorf("%d calls, want 4", got)
	}
}
