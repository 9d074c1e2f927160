package places_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// A budget limits the requests per day, including those that fail.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &countingSource{errs: []error{errRetryable, nil}}
		b := places.NewBreaker(places.NewBudget(src, 3, places.NextUTCMidnight), discard)
		time.Sleep(14 * time.Hour)
		for day := int64(1); day <= 2; day++ {
			for range 9 {
				b.Nearby(t.Context(), campus)
			}
			if got := src.calls.Load(); got != 3*day {
				t.Errorf("%d calls by day %d, want %d", got, day, 3*day)
			}
			_, err := b.Nearby(t.Context(), campus)
			want := fmt.Sprintf("OVER_QUERY_LIMIT: the daily budget of 3 requests to the places source is used up (paused until 2000-01-0%d 00:00:00 UTC)", day+1)
			if err == nil || err.Error() != want {
				t.Errorf("after the budget was used up: %v, want %s", err, want)
			}
			time.Sleep(10 * time.Hour)
		}
	})
}

// The shares of all servers add up to the budget of the herd.
func TestShare(t *testing.T) {
	for _, limit := range []int{0, 3, 5, 1000, 1004} {
		sum := 0
		for i := range 5 {
			share := places.Share(limit, i, 5)
			if share < limit/5 || share > limit/5+1 {
				t.Errorf("Share(%d, %d, 5) = %d", limit, i, share)
			}
			sum += share
		}
		if sum != limit {
			t.Errorf("the shares of %d add up to %d", limit, sum)
		}
	}
}
