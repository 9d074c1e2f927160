package places_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// Concurrent queries with equal cache keys share one call, and each caller gets the response.
func TestSingleflight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{delay: time.Second}
		s := places.NewSingleflight(src, time.Minute, discard)
		bound, radius := campus, campus
		bound.Bound++
		radius.Radius++
		distinct := []places.Query{campus, eastOfCampus(30), bound, radius}
		var wg sync.WaitGroup
		for range 50 {
			for _, q := range append(distinct, eastOfCampus(-0.3)) {
				wg.Go(func() {
					if _, err := s.Nearby(t.Context(), q); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if got := src.calls.Load(); got != int64(len(distinct)) {
			t.Errorf("%d calls, want %d", got, len(distinct))
		}
		if _, err := s.Nearby(t.Context(), campus); err != nil || src.calls.Load() != int64(len(distinct)+1) {
			t.Errorf("a later query: %v, %d calls in all, want one more", err, src.calls.Load())
		}
	})
}

// All callers of a call get its error.
func TestSingleflightError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{delay: time.Second, errs: []error{errRetryable}}
		s := places.NewSingleflight(src, time.Minute, discard)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := s.Nearby(t.Context(), campus); !errors.Is(err, errRetryable) {
					t.Errorf("Nearby = %v, want %v", err, errRetryable)
				}
			})
		}
		wg.Wait()
		if src.calls.Load() != 1 {
			t.Errorf("%d calls, want 1", src.calls.Load())
		}
	})
}

// A call is cancelled when its last caller leaves, whether or not that is the first caller.
func TestSingleflightCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled := make(chan error, 9)
		src := sourceFunc(func(ctx context.Context, _ places.Query) ([]byte, error) {
			select {
			case <-time.After(time.Minute):
				return []byte("{}"), nil
			case <-ctx.Done():
				cancelled <- ctx.Err()
				return nil, ctx.Err()
			}
		})
		s := places.NewSingleflight(src, time.Hour, discard)
		first, cancelFirst := context.WithCancel(t.Context())
		second, cancelSecond := context.WithCancel(t.Context())
		defer cancelSecond()
		query := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := s.Nearby(ctx, campus)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		firstErr, secondErr := query(first), query(second)
		cancelFirst()
		if err := <-firstErr; err != context.Canceled {
			t.Errorf("the cancelled first caller got %v", err)
		}
		synctest.Wait()
		if len(cancelled) > 0 {
			t.Error("the call was cancelled while a caller waited")
		}
		cancelSecond()
		if err := <-secondErr; err != context.Canceled {
			t.Errorf("the cancelled last caller got %v", err)
		}
		synctest.Wait()
		if len(cancelled) != 1 {
			t.Error("the call was not cancelled when no caller waited")
		}
		if err := <-query(t.Context()); err != nil { // a new call, not the cancelled one
			t.Errorf("a caller after the cancellation got %v", err)
		}
	})
}

// A call ends after the timeout, even if its callers have no deadline.
func TestSingleflightTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := places.NewSingleflight(&countingSource{delay: time.Hour}, 5*time.Second, discard)
		start := time.Now()
		if _, err := s.Nearby(t.Context(), campus); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("Nearby = %v after %v, want a timeout after 5s", err, time.Since(start))
		}
	})
}

// awaitPanic makes a query and returns the text of its panic; "" if it returns.
func awaitPanic(ctx context.Context, src places.Source) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprint(p)
		}
	}()
	src.Nearby(ctx, campus)
	return ""
}

// panicking is a source that panics after a second.
var panicking = sourceFunc(func(context.Context, places.Query) ([]byte, error) {
	time.Sleep(time.Second)
	panic("deliberate")
})

// All callers of a call get its panic, with the stack of the source. If none waits, it is logged.
func TestSingleflightPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		s := places.NewSingleflight(panicking, time.Minute, slog.New(slog.NewTextHandler(&log, nil)))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if got := awaitPanic(t.Context(), s); !strings.HasPrefix(got, "deliberate") || !strings.Contains(got, "singleflight_test.go") {
					t.Errorf("a caller got the panic %q, want the source's, with its stack", got)
				}
			})
		}
		wg.Wait()
		got := awaitPanic(t.Context(), s)
		synctest.Wait()
		if got == "" || log.String() != "" {
			t.Errorf("a later query has panic %q, log %q; want a panic and nothing", got, log.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if got := awaitPanic(ctx, s); got != "" {
			t.Errorf("a caller that left got the panic %q", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "panic=deliberate") || !strings.Contains(log.String(), "singleflight_test.go") {
			t.Errorf("the log has %q, want the panic and its stack", log.String())
		}
	})
}
