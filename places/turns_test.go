package places_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// turnsTest is a Turns in front of a source that takes a second for each query.
type turnsTest struct {
	*places.Turns
	src      *countingSource
	asked    atomic.Int64 // of askAs
	refused  atomic.Int64 // told by Turns
	rejected atomic.Int64 // seen by clients
	all      sync.WaitGroup
}

func newTurnsTest(most, waiting int) *turnsTest {
	t := &turnsTest{src: &countingSource{delay: time.Second}}
	t.Turns = places.NewTurns(t.src, most, waiting, func() { t.refused.Add(1) })
	return t
}

// askAs starts a query of the client at a network address.
func (t *turnsTest) askAs(ctx context.Context, remote string) {
	q := eastOfCampus(float64(t.asked.Add(1)))
	t.all.Go(func() {
		_, err := t.Nearby(places.WithClient(ctx, remote), q)
		var e *places.Error
		if errors.As(err, &e) && e.Status == places.StatusOverQueryLimit {
			t.rejected.Add(1)
		}
	})
}

// TestTurns: a client with a thousand queries does not delay another one by more than a few.
func TestTurns(t *testing.T) {
	for name, remote := range map[string]func(i int) string{
		"one address":    func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i+1) },
		"an IPv6 prefix": func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) },
		"IPv4 in IPv6":   func(i int) string { return fmt.Sprintf("[::ffff:192.0.2.1]:%d", i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := newTurnsTest(4, 2000)
				for i := range 1000 {
					turns.askAs(t.Context(), remote(i))
				}
				synctest.Wait()
				if n := turns.src.calls.Load(); n != 1 {
					t.Errorf("%d queries of one client at a time, want 1, a quarter of 4", n)
				}
				for range 3 {
					time.Sleep(time.Second / 2)
					began := time.Now()
					if _, err := turns.Nearby(places.WithClient(t.Context(), "198.51.100.1:1"), campus); err != nil || time.Since(began) > 2*time.Second {
						t.Errorf("another client's query took %v, with error %v; want 2 s at most", time.Since(began), err)
					}
				}
				turns.all.Wait()
				if n := turns.src.calls.Load(); n != 1003 || turns.rejected.Load() > 0 {
					t.Errorf("%d queries answered, %d rejected, want 1003 and none", n, turns.rejected.Load())
				}
			})
		})
	}
}

// TestTurnsOfConnections: where each connection counts as a client, one that seldom asks is served before those that ask
// all the time.
func TestTurnsOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurnsTest(4, 2000)
		ctx, stop := context.WithCancel(t.Context())
		for i := range 600 {
			turns.all.Go(func() {
				for ctx.Err() == nil {
					turns.Nearby(places.WithClient(ctx, fmt.Sprintf("127.0.0.1:%d", i+1)), eastOfCampus(float64(i)))
				}
			})
		}
		time.Sleep(200 * time.Second) // all had a turn
		began := time.Now()
		if _, err := turns.Nearby(places.WithClient(ctx, "[::1]:9"), campus); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("a new connection's query took %v, with error %v; want 2 s at most", time.Since(began), err)
		}
		stop()
		turns.all.Wait()
	})
}

// TestTurnsOfNewClients: clients that were never served before do not keep one waiting that was, however many of them
// arrive.
func TestTurnsOfNewClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurnsTest(4, 2000)
		turns.askAs(t.Context(), "198.51.100.1:1")
		turns.all.Wait()
		ctx, stop := context.WithCancel(t.Context())
		arrive := func(i int) { turns.askAs(ctx, fmt.Sprintf("[2001:db8:0:%x::1]:1", i)) }
		for i := range 8 {
			arrive(i)
		}
		synctest.Wait()
		began := time.Now()
		served := make(chan struct{})
		go func() {
			defer close(served)
			if _, err := turns.Nearby(places.WithClient(t.Context(), "198.51.100.1:2"), campus); err != nil {
				t.Error(err)
			}
		}()
		for i := 8; ; i++ { // 8 a second, twice as many as are served
			select {
			case <-served:
			case <-time.After(time.Second / 8):
				if arrive(i); time.Since(began) < time.Minute {
					continue
				}
			}
			break
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("a query behind 8 others took %v, want 6 s at most", took)
		}
		stop()
		turns.all.Wait()
		<-served
	})
}

// TestTurnsRefuse: when too many queries wait, the client with most of them loses its newest, and others are served. A
// query that is cancelled is not refused.
func TestTurnsRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurnsTest(1, 10)
		hasty, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		for range 100 {
			turns.askAs(hasty, "192.0.2.1:1")
		}
		synctest.Wait()
		if n := turns.rejected.Load(); n != 89 {
			t.Errorf("%d queries rejected at once, want 89: one is in progress, and 10 wait", n)
		}
		if _, err := turns.Nearby(places.WithClient(t.Context(), "198.51.100.1:1"), campus); err != nil {
			t.Errorf("a query of another client: %v", err)
		}
		if n := turns.rejected.Load(); n != 90 {
			t.Errorf("%d queries rejected, want 90: one more makes room for another client's", n)
		}
		turns.all.Wait()
		if n, told := turns.rejected.Load(), turns.refused.Load(); n < 95 || n != told { // the deadline has passed for one that is in progress, too
			t.Errorf("%d rejected, %d told, want as many, and those whose deadline has passed", n, told)
		}
		gone, leave := context.WithCancel(t.Context())
		turns.askAs(t.Context(), "192.0.2.1:1")
		synctest.Wait()
		before := turns.refused.Load()
		turns.askAs(gone, "192.0.2.1:1")
		synctest.Wait()
		leave()
		turns.all.Wait()
		if n := turns.refused.Load() - before; n != 0 {
			t.Errorf("%d refused of one that was cancelled", n)
		}
	})
}

// TestTurnsManyClients: clients without queries are forgotten.
func TestTurnsManyClients(t *testing.T) {
	turns := places.NewTurns(fixedSource("{}", nil), 4, 10, nil)
	for i := range 5000 {
		if _, err := turns.Nearby(places.WithClient(t.Context(), fmt.Sprintf("192.0.%d.%d:1", i/250, i%250)), campus); err != nil {
			t.Fatal(err)
		}
	}
	if n := places.ClientsOf(turns); n > 1000 {
		t.Errorf("%d clients are kept, want 1000 at most", n)
	}
}

// TestTurnsPanic: a source that panics does not use up turns.
func TestTurnsPanic(t *testing.T) {
	turns := places.NewTurns(sourceFunc(func(context.Context, places.Query) ([]byte, error) { panic("test") }), 1, 10, nil)
	for range 3 {
		func() {
			defer func() { recover() }()
			turns.Nearby(t.Context(), campus)
		}()
	}
}

// TestTurnsForgotten: the context of a query may end when the query has been refused and its client forgotten.
func TestTurnsForgotten(t *testing.T) {
	if places.LeaveForgotten(places.NewTurns(nil, 1, 10, nil)) {
		t.Error("a query of a client that is forgotten was still waiting")
	}
}
