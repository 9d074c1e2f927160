package places_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// What stands between a client and a source, each by itself, in virtual time.

// counted is a source that counts how often it is asked and answers with the answers of its list, the last of them for
// ever.
type counted struct {
	asked   atomic.Int64
	answers []error // nil for an answer
	takes   time.Duration
}

func (c *counted) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	n := int(c.asked.Add(1)) - 1
	if c.takes > 0 {
		select {
		case <-time.After(c.takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var err error
	if len(c.answers) > 0 {
		err = c.answers[min(n, len(c.answers)-1)]
	}
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "{%d}", n), nil
}

func quota(wait time.Duration) error {
	return &places.Error{Status: places.StatusOverQueryLimit, Message: "enough", Wait: wait}
}

var flaky = &places.Error{Status: places.StatusUnknownError, Message: "try again", Retry: true}

// near is a question at so many metres to the east of the campus.
func near(metres float64) places.Query {
	q := campus
	q.Lon += metres / 92_000
	return q
}

// TestFlights: equal questions are one, and each asker gets its answer.
func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{takes: time.Second}
		f := places.NewFlights(src, time.Minute)
		bound, radius := campus, campus
		bound.Bound++
		radius.Radius++
		distinct := []places.Query{campus, near(30), bound, radius}
		var wg sync.WaitGroup
		for range 50 {
			for _, q := range append(distinct, near(-0.3)) {
				wg.Go(func() {
					if _, err := f.Nearby(t.Context(), q); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if got := src.asked.Load(); got != int64(len(distinct)) {
			t.Errorf("%d questions were asked, want %d", got, len(distinct))
		}
		if _, err := f.Nearby(t.Context(), campus); err != nil || src.asked.Load() != int64(len(distinct)+1) {
			t.Errorf("a later question: %v, asked %d times, want once more", err, src.asked.Load())
		}
	})
}

// TestFlightsFailTogether: a failure is everybody's.
func TestFlightsFailTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{takes: time.Second, answers: []error{flaky}}
		f := places.NewFlights(src, time.Minute)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := f.Nearby(t.Context(), campus); !errors.Is(err, flaky) {
					t.Errorf("Nearby = %v, want %v", err, flaky)
				}
			})
		}
		wg.Wait()
		if src.asked.Load() != 1 {
			t.Errorf("asked %d times, want once", src.asked.Load())
		}
	})
}

// TestFlightsCancelled: a question lives while anybody waits for it, the one who asked first or others.
func TestFlightsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cancelled := make(chan error, 9)
		src := source(func(ctx context.Context, _ places.Query) ([]byte, error) {
			select {
			case <-time.After(time.Minute):
				return []byte("{}"), nil
			case <-ctx.Done():
				cancelled <- ctx.Err()
				return nil, ctx.Err()
			}
		})
		f := places.NewFlights(src, time.Hour)
		first, leaveFirst := context.WithCancel(t.Context())
		second, leaveSecond := context.WithCancel(t.Context())
		defer leaveSecond()
		ask := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := f.Nearby(ctx, campus)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		one, two := ask(first), ask(second)
		leaveFirst()
		if err := <-one; err != context.Canceled {
			t.Errorf("who left got %v", err)
		}
		synctest.Wait()
		if len(cancelled) > 0 {
			t.Error("the question was cancelled while somebody waited")
		}
		leaveSecond()
		if err := <-two; err != context.Canceled {
			t.Errorf("who left last got %v", err)
		}
		synctest.Wait()
		if len(cancelled) != 1 {
			t.Error("the question was not cancelled when nobody waited")
		}
		if err := <-ask(t.Context()); err != nil { // a question of its own, not the cancelled one
			t.Errorf("who came after got %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := places.NewFlights(&counted{takes: time.Hour}, 5*time.Second)
		began := time.Now()
		if _, err := f.Nearby(t.Context(), campus); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("an endless question: %v after %v", err, time.Since(began))
		}
	})
}

// TestCache: one question a TTL, with Flights in front also for those that come together.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{takes: time.Second, answers: []error{flaky, nil}}
		c := places.NewFlights(places.NewCache(src, places.Query.Spot, time.Hour, 1<<20), time.Minute)
		if _, err := c.Nearby(t.Context(), campus); !errors.Is(err, flaky) {
			t.Errorf("Nearby = %v, want the failure", err)
		}
		check := func(after time.Duration, asked int64, body string) {
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
			if got := src.asked.Load(); got != asked {
				t.Errorf("asked %d times, want %d", got, asked)
			}
		}
		check(0, 2, "{1}") // failures are not kept
		check(59*time.Minute, 2, "{1}")
		check(2*time.Minute, 3, "{2}")
	})
}

// TestCacheSame: who shares an answer.
func TestCacheSame(t *testing.T) {
	t.Parallel()
	bound := campus
	bound.Bound++
	for name, tt := range map[string]struct {
		same  func(places.Query) places.Query
		asked int64
	}{"one spot": {places.Query.Spot, 2}, "equal": {nil, 3}} {
		src := &counted{}
		c := places.NewCache(src, tt.same, time.Hour, 1<<20)
		for _, q := range []places.Query{campus, near(-0.3), bound, campus, near(-0.3), bound} {
			if _, err := c.Nearby(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		if got := src.asked.Load(); got != tt.asked {
			t.Errorf("%s: asked %d times, want %d", name, got, tt.asked)
		}
	}
}

// TestCacheBounded: answers are kept in so much memory and no more.
func TestCacheBounded(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	body := bytes.Repeat([]byte("x"), 10_000)
	c := places.NewCache(source(func(context.Context, places.Query) ([]byte, error) {
		asked.Add(1)
		return body, nil
	}), nil, time.Hour, 1_000_000)
	for range 2 {
		for i := range 1000 {
			if _, err := c.Nearby(t.Context(), near(float64(10*i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := asked.Load(); got < 1500 {
		t.Errorf("asked %d times for 2 rounds of 1000 answers, of which 100 fit", got)
	}
}

// TestBreaker: no question while asking does not help, and twice as long each time.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{answers: []error{
			quota(time.Minute), quota(time.Minute), quota(time.Minute), quota(time.Minute), quota(time.Minute), quota(5 * time.Hour), quota(time.Minute), nil,
			quota(time.Minute), nil,
		}}
		b := places.NewBreaker(src)
		var asked int64
		for _, wait := range []time.Duration{1, 2, 4, 8, 10, 300, 10, 0, 1, 0} {
			asked++
			_, err := b.Nearby(t.Context(), campus)
			if got := src.asked.Load(); got != asked {
				t.Fatalf("asked %d times, want %d", got, asked)
			}
			if wait == 0 {
				if err != nil {
					t.Errorf("Nearby = %v, want an answer", err)
				}
				continue
			}
			time.Sleep(wait*time.Minute - time.Second)
			var known *places.Error
			_, err = b.Nearby(t.Context(), campus)
			if !errors.As(err, &known) || known.Status != places.StatusOverQueryLimit || !strings.HasPrefix(known.Message, "enough (not asked again before 2000-01-01 ") {
				t.Errorf("while it is open: %v", err)
			}
			if got := src.asked.Load(); got != asked {
				t.Errorf("asked %d times after %v minutes, want %d: it did not keep still", got, wait, asked)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestBreakerTogether: those that were under way when it opened don't make it wait longer.
func TestBreakerTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{takes: time.Second, answers: []error{quota(time.Minute)}}
		b := places.NewBreaker(src)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { b.Nearby(t.Context(), campus) })
		}
		wg.Wait()
		time.Sleep(time.Minute)
		b.Nearby(t.Context(), campus)
		if got := src.asked.Load(); got != 21 {
			t.Errorf("asked %d times, want once more after a minute", got)
		}
	})
}

// TestBreakerStaysClosed for failures that say nothing of waiting.
func TestBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	src := &counted{answers: []error{flaky, errors.New("x"), quota(0), nil}}
	b := places.NewBreaker(src)
	for range 4 {
		b.Nearby(t.Context(), campus)
	}
	if got := src.asked.Load(); got != 4 {
		t.Errorf("asked %d times of 4", got)
	}
}

// TestRetry: again where that may help, and within the time that there is.
func TestRetry(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []error
		within  time.Duration
		asked   int64
		fails   bool
	}{
		{"well", []error{nil}, time.Minute, 1, false},
		{"well, the second time", []error{flaky, nil}, time.Minute, 2, false},
		{"well, the third time", []error{flaky, flaky, nil}, time.Minute, 3, false},
		{"never well", []error{flaky}, time.Minute, 3, true},
		{"denied", []error{&places.Error{Status: places.StatusRequestDenied}}, time.Minute, 1, true},
		{"over its limit", []error{quota(time.Minute)}, time.Minute, 1, true},
		{"unknown to us", []error{errors.New("x")}, time.Minute, 1, true},
		{"no time", []error{flaky, nil}, 50 * time.Millisecond, 1, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			src := &counted{answers: tt.answers}
			ctx, cancel := context.WithTimeout(t.Context(), tt.within)
			defer cancel()
			began := time.Now()
			_, err := places.NewRetry(src).Nearby(ctx, campus)
			if (err != nil) != tt.fails || src.asked.Load() != tt.asked {
				t.Errorf("%s: %v after %d questions, want %d", tt.name, err, src.asked.Load(), tt.asked)
			}
			took := time.Since(began)
			if least, most := []time.Duration{0, 100, 300}[tt.asked-1], []time.Duration{0, 300, 900}[tt.asked-1]; took < least*time.Millisecond || took > most*time.Millisecond {
				t.Errorf("%s: took %v, want %v to %v ms", tt.name, took, least, most)
			}
		})
	}
}

// TestRate: so many a second and no more; what cannot have its turn in time fails at once.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{}
		r := places.NewRate(src, 10)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var limited atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				_, err := r.Nearby(ctx, campus)
				var known *places.Error
				if errors.As(err, &known) && known.Status == places.StatusOverQueryLimit && known.Wait == 0 {
					limited.Add(1)
				}
			})
		}
		synctest.Wait()
		if src.asked.Load() != 10 || limited.Load() != 60 {
			t.Errorf("at once: %d asked, %d refused, want 10 and 60", src.asked.Load(), limited.Load())
		}
		wg.Wait()
		if src.asked.Load() != 40 {
			t.Errorf("in 3 s: %d asked, want 40", src.asked.Load())
		}
	})
}

// TestBudget: so many a day, whatever comes of them, and the shares of a herd's servers are the whole.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &counted{answers: []error{flaky, nil}}
		b := places.NewBreaker(places.NewBudget(src, 3, places.UTCMidnight))
		time.Sleep(14 * time.Hour)
		for day := int64(1); day <= 2; day++ {
			for range 9 {
				b.Nearby(t.Context(), campus)
			}
			if got := src.asked.Load(); got != 3*day {
				t.Errorf("asked %d times by day %d, want %d", got, day, 3*day)
			}
			_, err := b.Nearby(t.Context(), campus)
			want := fmt.Sprintf("OVER_QUERY_LIMIT: the day's budget of 3 calls to the places source is spent (not asked again before 2000-01-0%d 00:00:00 UTC)", day+1)
			if err == nil || err.Error() != want {
				t.Errorf("a spent budget: %v, want %s", err, want)
			}
			time.Sleep(10 * time.Hour)
		}
	})
	for _, calls := range []int{0, 3, 5, 1000, 1004} {
		sum := 0
		for i := range 5 {
			share := places.Share(calls, i, 5)
			if share < calls/5 || share > calls/5+1 {
				t.Errorf("Share(%d, %d, 5) = %d", calls, i, share)
			}
			sum += share
		}
		if sum != calls {
			t.Errorf("the shares of %d are %d together", calls, sum)
		}
	}
}

// TestFallback: the next when one fails, within one time for all.
func TestFallback(t *testing.T) {
	denied := &places.Error{Status: places.StatusRequestDenied, Message: "bad key", Body: []byte("{denied}")}
	never := &counted{takes: time.Hour}
	for _, tt := range []struct {
		name string
		list []places.Choice
		want string
		took time.Duration
	}{
		{"the first", []places.Choice{{Name: "a", Source: says("{a}", nil)}, {Name: "b", Source: never}}, "{a}", 0},
		{"the second", []places.Choice{{Name: "a", Source: says("", denied)}, {Name: "b", Source: says("{b}", nil)}}, "{b}", 0},
		{"the second, in its share", []places.Choice{{Name: "a", Source: never}, {Name: "b", Source: says("{b}", nil)}}, "{b}", 4 * time.Second},
		{"the third", []places.Choice{{Name: "a", Source: says("", denied)}, {Name: "b", Source: never}, {Name: "c", Source: says("{c}", nil)}}, "{c}", 4 * time.Second},
		{"none", []places.Choice{{Name: "a", Source: says("", denied)}, {Name: "b", Source: never}},
			`"error_message" : "a: bad key; b: the places source did not answer in time"`, 8 * time.Second},
		{"none, with the first's status", []places.Choice{{Name: "a", Source: says("", denied)}, {Name: "b", Source: never}},
			`"status" : "REQUEST_DENIED"`, 8 * time.Second},
		{"an only one's own bytes", []places.Choice{{Name: "a", Source: says("", denied)}}, "{denied}", 0},
		{"an only one in time", []places.Choice{{Name: "a", Source: never}}, "did not answer in time", 8 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			got := string(places.Answer(t.Context(), nil, places.NewFallback(8*time.Second, tt.list...), campus))
			if took := time.Since(began); !strings.Contains(got, tt.want) || took != tt.took {
				t.Errorf("%s: %s after %v, want %s after %v", tt.name, got, took, tt.want, tt.took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // who has gone has nobody else asked
		second := &counted{}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		f := places.NewFallback(8*time.Second, places.Choice{Name: "a", Source: never}, places.Choice{Name: "b", Source: second})
		if _, err := f.Nearby(ctx, campus); !errors.Is(err, context.Canceled) || second.asked.Load() != 0 {
			t.Errorf("Nearby = %v, and the next was asked %d times", err, second.asked.Load())
		}
	})
}

// TestLogged: the begin and the end of a time of failures.
func TestLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	src := &counted{answers: []error{nil, flaky, flaky, context.Canceled, nil, nil, context.Canceled, flaky}}
	l := places.NewLogged(src, slog.New(slog.NewTextHandler(&log, nil)))
	for range src.answers {
		l.Nearby(t.Context(), campus)
	}
	var got []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
		got = append(got, line)
	}
	fails, well := `WARN msg="places fail" err="UNKNOWN_ERROR: try again"`, `INFO msg="places answer again"`
	if want := []string{fails, well, fails}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log %q, want %q", got, want)
	}
}
