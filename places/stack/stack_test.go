package stack

import (
	"bytes"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"herd/places"
	"herd/places/placestest"
)

var campus = places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 10_000, Bound: 5}

// TestStack asks a stack of all sources but google-new: which source answers, and how
// often each is called.
func TestStack(t *testing.T) {
	t.Parallel()
	google, overpass := placestest.Google(t, placestest.Key, placestest.ExpandedArrays), placestest.Overpass(t, 10)
	var mu sync.Mutex
	calls, failures := map[string]int{}, map[string]int{}
	source := New(Config{
		Sources: []Source{{Google, google.URL}, {Overpass, overpass.URL}, {Name: Gazetteer}},
		Key:     placestest.Key, Budget: 3, Agent: "test",
		Observe: func(source string) func(time.Duration, error) {
			return func(_ time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				calls[source]++
				if err != nil {
					failures[source]++
				}
			}
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ask := func(want string) {
		t.Helper()
		if got := placestest.Nearby(t, source, campus); !strings.Contains(got, want) {
			t.Errorf("answer %s\nwant one with %q", got, want)
		}
	}
	counts := func(source string, wantCalls, wantFailures int) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if calls[source] != wantCalls || failures[source] != wantFailures {
			t.Errorf("%s: %d calls and %d failures, want %d and %d", source, calls[source], failures[source], wantCalls, wantFailures)
		}
	}

	for range 2 { // Google's answers are not cached
		ask(`"place_id"`)
	}
	counts(Google, 2, 0)
	google.OverrideNext(placestest.Respond(200, placestest.GoogleError("REQUEST_DENIED", placestest.GoogleBadKey)))
	ask("OpenStreetMap") // the budget of Google is now spent
	for range 2 {
		ask("OpenStreetMap")
	}
	counts(Google, 3, 1)
	counts(Overpass, 1, 0) // and then its cache
	if n := len(google.Requests()); n != 3 {
		t.Errorf("Google was asked %d times, want 3", n)
	}

	overpass.OverrideAll(placestest.Respond(400, ""))
	campus := campus
	campus.Radius = 9_000
	for range 2 {
		if got := placestest.Nearby(t, source, campus); !strings.Contains(got, "GeoNames") {
			t.Errorf("answer %s\nwant the gazetteer's", got)
		}
	}
	counts(Gazetteer, 1, 0)
}

// TestDeadSource: a service that refuses connections is left alone after some queries, the next one is asked at once, and
// one log line says that it is off.
func TestDeadSource(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	var log bytes.Buffer
	var calls atomic.Int64 // to Overpass
	source := New(Config{
		Sources: []Source{{Overpass, &url.URL{Scheme: "http", Host: ln.Addr().String()}}, {Google, placestest.Google(t, placestest.Key, placestest.ExpandedArrays).URL}},
		Key:     placestest.Key, Budget: Unlimited, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Observe: func(source string) func(time.Duration, error) {
			return func(time.Duration, error) {
				if source == Overpass {
					calls.Add(1)
				}
			}
		},
	})
	ask := func(i int) {
		campus := campus
		campus.Radius = 1000 + float64(i) // the cache has no answer
		if got := placestest.Nearby(t, source, campus); !strings.Contains(got, `"place_id"`) {
			t.Errorf("answer %s\nwant Google's", got)
		}
	}
	var all sync.WaitGroup
	for i := range 9 {
		all.Go(func() { ask(i) })
	}
	all.Wait()
	before := calls.Load()
	for i := range 50 {
		ask(9 + i)
	}
	if n := calls.Load() - before; n > 3 { // a probe, on a machine that is very slow
		t.Errorf("%d calls to the dead source, want none", n)
	}
	for _, line := range []string{"places source failed", "places source paused"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%d lines %q, want 1:\n%s", n, line, log.String())
		}
	}
}

// TestBudgetOfNothing: the last servers of a herd have no share of a small budget.
func TestBudgetOfNothing(t *testing.T) {
	t.Parallel()
	for budget, want := range map[int]int{0: 0, Unlimited: 1} {
		google := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
		source := New(Config{Sources: []Source{{Google, google.URL}}, Key: placestest.Key, Budget: budget, Log: slog.New(slog.DiscardHandler)})
		source.Nearby(t.Context(), campus)
		if n := len(google.Requests()); n != want {
			t.Errorf("with a budget of %d, Google was asked %d times, want %d", budget, n, want)
		}
	}
}
