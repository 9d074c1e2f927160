package places_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// A cache queries its source once per TTL. With a Singleflight around it, that is also true for concurrent queries.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{delay: time.Second, errs: []error{errRetryable, nil}}
		c := places.NewSingleflight(places.NewCache(src, places.Query.CacheKey, time.Hour, 1<<20), time.Minute, discard)
		if _, err := c.Nearby(t.Context(), campus); !errors.Is(err, errRetryable) {
			t.Errorf("Nearby = %v, want %v", err, errRetryable)
		}
		check := func(after time.Duration, calls int64, body string) {
			t.Helper()
			time.Sleep(after)
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if got, err := c.Nearby(t.Context(), campus); string(got) != body || err != nil {
						t.Errorf("Nearby = %s, %v, want %s", got, err, body)
					}
				})
			}
			wg.Wait()
			if got := src.calls.Load(); got != calls {
				t.Errorf("%d calls, want %d", got, calls)
			}
		}
		check(0, 2, "{1}") // errors are not cached
		check(59*time.Minute, 2, "{1}")
		check(2*time.Minute, 3, "{2}")
	})
}

// Queries with equal keys share a response.
func TestCacheKey(t *testing.T) {
	t.Parallel()
	bound := campus
	bound.Bound++
	for name, tt := range map[string]struct {
		key   func(places.Query) places.Query
		calls int64
	}{"cache key": {places.Query.CacheKey, 2}, "query": {nil, 3}} {
		src := &countingSource{}
		c := places.NewCache(src, tt.key, time.Hour, 1<<20)
		for _, q := range []places.Query{campus, eastOfCampus(-0.3), bound, campus, eastOfCampus(-0.3), bound} {
			if _, err := c.Nearby(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		if got := src.calls.Load(); got != tt.calls {
			t.Errorf("%s: %d calls, want %d", name, got, tt.calls)
		}
	}
}

// A cache stays within its memory limit.
func TestCacheMemoryLimit(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	body := bytes.Repeat([]byte("x"), 10_000)
	c := places.NewCache(sourceFunc(func(context.Context, places.Query) ([]byte, error) {
		calls.Add(1)
		return body, nil
	}), nil, time.Hour, 1_000_000)
	for range 2 {
		for i := range 1000 {
			if _, err := c.Nearby(t.Context(), eastOfCampus(float64(10*i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := calls.Load(); got < 1500 {
		t.Errorf("%d calls for 2 rounds of 1000 queries, want at least 1500: only 100 responses fit", got)
	}
}
