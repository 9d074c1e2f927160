package places_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		name    string
		errs    []error
		timeout time.Duration
		calls   int64
		fails   bool
	}{
		{"success", []error{nil}, time.Minute, 1, false},
		{"success at the second attempt", []error{errRetryable, nil}, time.Minute, 2, false},
		{"success at the third attempt", []error{errRetryable, errRetryable, nil}, time.Minute, 3, false},
		{"no success", []error{errRetryable}, time.Minute, 3, true},
		{"denied", []error{&places.Error{Status: places.StatusRequestDenied}}, time.Minute, 1, true},
		{"over the limit", []error{overLimit(time.Minute)}, time.Minute, 1, true},
		{"not a places.Error", []error{errors.New("x")}, time.Minute, 1, true},
		{"deadline before the retry", []error{errRetryable, nil}, 50 * time.Millisecond, 1, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			src := &countingSource{errs: tt.errs}
			ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
			defer cancel()
			start := time.Now()
			_, err := places.NewRetry(src).Nearby(ctx, campus)
			if (err != nil) != tt.fails || src.calls.Load() != tt.calls {
				t.Errorf("%s: %v after %d calls, want %d", tt.name, err, src.calls.Load(), tt.calls)
			}
			// The sum of the backoffs, with the smallest and the largest jitter.
			low := []time.Duration{0, 100, 300}[tt.calls-1] * time.Millisecond
			high := []time.Duration{0, 300, 900}[tt.calls-1] * time.Millisecond
			if took := time.Since(start); took < low || took > high {
				t.Errorf("%s: took %v, want %v to %v", tt.name, took, low, high)
			}
		})
	}
}
