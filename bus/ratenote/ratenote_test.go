package ratenote

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		expect := func(step string, want ...string) {
			t.Helper()
			var got []string
			for _, r := range l.Due(time.Now()) {
				got = append(got, r.Key+": "+r.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step, diff)
			}
		}
		expect("nothing was noted")
		l.Note("b", "first", 1)
		l.Note("a", "twice", 2)
		expect("the first time", "a: twice, 2 times", "b: first")
		for i := range 3 {
			l.Note("b", fmt.Sprint("again ", i), 1)
			time.Sleep(300 * time.Millisecond)
			expect("within a second")
		}
		time.Sleep(Interval - 900*time.Millisecond)
		expect("a second later, the last text and the number of times", "b: again 2, 3 times")
		time.Sleep(Interval)
		l.Note("b", "late", 1)
		expect("after a second without any", "b: late")
	})
}

// TestMaxKeys: keys beyond MaxKeys are counted together, and a key that is no longer
// noted makes room.
func TestMaxKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		for i := range MaxKeys + 10 {
			l.Note(fmt.Sprint("key", i), "x", 1)
		}
		due := l.Due(time.Now())
		if want := (Report{"", "x", 10}); len(due) != MaxKeys+1 || due[0] != want {
			t.Errorf("%d reports, the first %+v; want %d, the first %+v", len(due), due[0], MaxKeys+1, want)
		}
		time.Sleep(Interval)
		l.Due(time.Now()) // forgets them
		l.Note("new", "x", 1)
		if due := l.Due(time.Now()); len(due) != 1 || due[0].Key != "new" {
			t.Errorf("reports after all was forgotten: %+v, want one of the key \"new\"", due)
		}
	})
}
