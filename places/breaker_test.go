package places_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
		b := places.NewBreaker(src, discard)
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
		b := places.NewBreaker(src, discard)
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

// Errors that answer the query, and single failures, do not open a breaker.
func TestBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	denied := &places.Error{Status: places.StatusRequestDenied}
	src := &countingSource{errs: []error{
		errRetryable, context.DeadlineExceeded, errors.New("x"), errRetryable, errRetryable, denied, errRetryable, errRetryable, nil,
		errRetryable, context.Canceled, errRetryable, overLimit(0), context.Canceled, context.Canceled, context.Canceled, nil,
	}}
	b := places.NewBreaker(src, discard)
	for range src.errs {
		b.Nearby(t.Context(), campus)
	}
	if got := int(src.calls.Load()); got != len(src.errs) {
		t.Errorf("%d calls, want %d", got, len(src.errs))
	}
}

// A breaker pauses a source that does not answer. Only probes reach it then, after pauses that double up to a minute, and
// no query waits for one for long. A response ends the pause.
func TestBreakerUnanswered(t *testing.T) {
	for name, failure := range map[string]error{"timeout": context.DeadlineExceeded, "connection refused": errRetryable} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			src := &countingSource{errs: []error{failure}, delay: 2 * time.Second}
			b := places.NewBreaker(src, slog.New(slog.NewTextHandler(&log, nil)))
			for range 3 {
				b.Nearby(t.Context(), campus)
			}
			ask := func(want string, calls int64, most time.Duration) {
				t.Helper()
				began := time.Now()
				_, err := b.Nearby(t.Context(), campus)
				var e *places.Error
				if !errors.As(err, &e) || e.Status != places.StatusUnknownError || !strings.Contains(e.Message, want) {
					t.Errorf("%s: during the pause: %v, want UNKNOWN_ERROR and %q", name, err, want)
				}
				if took := time.Since(began); took > most {
					t.Errorf("%s: the query took %v, want %v at most", name, took, most)
				}
				if got := src.calls.Load(); got != calls {
					t.Errorf("%s: %d calls, want %d", name, got, calls)
				}
			}
			calls := int64(3)
			for _, seconds := range []time.Duration{5, 10, 20, 40, 60, 60} {
				ask("(paused until 2000-01-01 ", calls, 0)
				time.Sleep(seconds*time.Second - time.Millisecond)
				ask("(paused until 2000-01-01 ", calls, 0)
				time.Sleep(time.Millisecond)
				calls++
				ask("(paused, a probe is in progress)", calls, time.Second/2) // its query becomes the probe
				ask("(paused, a probe is in progress)", calls, 0)
				time.Sleep(1700 * time.Millisecond) // until the probe has failed
				synctest.Wait()
			}
			src.errs = nil
			time.Sleep(time.Minute)
			calls++
			ask("(paused, a probe is in progress)", calls, time.Second/2)
			time.Sleep(2 * time.Second)
			if _, err := b.Nearby(t.Context(), campus); err != nil {
				t.Errorf("%s: after a probe that succeeded: %v", name, err)
			}
			if n := strings.Count(log.String(), "places source paused"); n != 1 {
				t.Errorf("%s: the pause was logged %d times, want once:\n%s", name, n, log.String())
			}
		})
	}
}

// The query that becomes a probe gets the response if it comes soon. Concurrent queries do not become probes.
func TestBreakerProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{errs: []error{errRetryable, errRetryable, errRetryable, nil}, delay: 100 * time.Millisecond}
		b := places.NewBreaker(src, discard)
		for range 3 {
			b.Nearby(t.Context(), campus)
		}
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		var succeeded atomic.Int64
		for range 20 {
			wg.Go(func() {
				if body, err := b.Nearby(t.Context(), campus); err == nil && string(body) == "{3}" {
					succeeded.Add(1)
				}
			})
		}
		wg.Wait()
		if calls := src.calls.Load(); calls != 4 || succeeded.Load() != 1 {
			t.Errorf("%d calls and %d queries with a response, want 4 and 1", calls, succeeded.Load())
		}
	})
}

// A source that answers again, but asks for a pause, gets the pause that it asks for.
func TestBreakerChangesCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{errs: []error{errRetryable, errRetryable, errRetryable, errRetryable, overLimit(7 * time.Second), nil}}
		b := places.NewBreaker(src, discard)
		for range 3 {
			b.Nearby(t.Context(), campus)
		}
		for range 2 { // probes
			time.Sleep(10 * time.Second)
			b.Nearby(t.Context(), campus)
		}
		time.Sleep(7*time.Second - 1)
		var e *places.Error
		if _, err := b.Nearby(t.Context(), campus); !errors.As(err, &e) || e.Status != places.StatusOverQueryLimit {
			t.Errorf("just before the end of the pause: %v, want OVER_QUERY_LIMIT", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := b.Nearby(t.Context(), campus); err != nil {
			t.Errorf("after the pause: %v", err)
		}
	})
}

// A share of a Fallback that runs out behind a Singleflight is a failure of the source. A caller that gives up is none.
func TestBreakerBehindSingleflight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := sourceFunc(func(ctx context.Context, _ places.Query) ([]byte, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx) // as places/internal/web does
		})
		f := places.NewFallback(8*time.Second,
			places.NamedSource{Name: "a", Source: places.NewSingleflight(places.NewBreaker(hanging, discard), 9*time.Second, discard)},
			places.NamedSource{Name: "b", Source: fixedSource("{b}", nil)})
		ask := func(ctx context.Context) (took time.Duration) {
			began := time.Now()
			f.Nearby(ctx, campus)
			return time.Since(began)
		}
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			ask(ctx)
		}
		for i := range 3 {
			if took := ask(t.Context()); took != 4*time.Second {
				t.Errorf("query %d took %v, want the source's share, 4 s", i, took)
			}
		}
		synctest.Wait()
		if took := ask(t.Context()); took != 0 {
			t.Errorf("a query after three timeouts took %v, want none of it for the silent source", took)
		}
	})
}

// A panic in a probe goes on in its caller and ends the probe: the next one comes after a pause. If the caller has left, it
// is logged. Panics of other queries count as failures, too.
func TestBreakerPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		var delay atomic.Int64
		var calls atomic.Int32
		src := sourceFunc(func(context.Context, places.Query) ([]byte, error) {
			calls.Add(1)
			time.Sleep(time.Duration(delay.Load()))
			panic("deliberate")
		})
		b := places.NewBreaker(src, slog.New(slog.NewTextHandler(&log, nil)))
		query := func(wantPanic string, wantCalls int) {
			t.Helper()
			got := awaitPanic(t.Context(), b)
			synctest.Wait()
			if !strings.HasPrefix(got, wantPanic) || wantPanic == "" && got != "" || int(calls.Load()) != wantCalls {
				t.Fatalf("panic %q after %d calls, want %q after %d", got, calls.Load(), wantPanic, wantCalls)
			}
		}
		for n := range 3 {
			query("deliberate", n+1)
		}
		query("", 3) // paused
		time.Sleep(5 * time.Second)
		query("deliberate", 4) // a probe
		query("", 4)           // paused, for twice the time
		time.Sleep(10 * time.Second)
		delay.Store(int64(time.Second))
		query("", 5) // a probe that the caller does not wait for
		if strings.Contains(log.String(), "deliberate") {
			t.Errorf("panics that callers got are logged: %s", log.String())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "panic=deliberate") || !strings.Contains(log.String(), "breaker_test.go") {
			t.Errorf("the log has %q, want the panic and its stack", log.String())
		}
		time.Sleep(20 * time.Second)
		delay.Store(0)
		query("deliberate", 6)
	})
}
