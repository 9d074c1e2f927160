package places_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/places"
)

// A fallback tries the next source when one fails, within its timeout.
func TestFallback(t *testing.T) {
	denied := &places.Error{Status: places.StatusRequestDenied, Message: "bad key", Body: []byte("{denied}")}
	hanging := &countingSource{delay: time.Hour}
	for _, tt := range []struct {
		name    string
		sources []places.NamedSource
		want    string
		took    time.Duration
	}{
		{"first succeeds", []places.NamedSource{{Name: "a", Source: fixedSource("{a}", nil)}, {Name: "b", Source: hanging}}, "{a}", 0},
		{"second succeeds", []places.NamedSource{{Name: "a", Source: fixedSource("", denied)}, {Name: "b", Source: fixedSource("{b}", nil)}}, "{b}", 0},
		{"second succeeds after the first has used its share of the time", []places.NamedSource{{Name: "a", Source: hanging}, {Name: "b", Source: fixedSource("{b}", nil)}}, "{b}", 4 * time.Second},
		{"third succeeds", []places.NamedSource{{Name: "a", Source: fixedSource("", denied)}, {Name: "b", Source: hanging}, {Name: "c", Source: fixedSource("{c}", nil)}}, "{c}", 4 * time.Second},
		{"all fail: messages of all", []places.NamedSource{{Name: "a", Source: fixedSource("", denied)}, {Name: "b", Source: hanging}},
			`"error_message" : "a: bad key; b: the places source did not answer in time"`, 8 * time.Second},
		{"all fail: status of the first", []places.NamedSource{{Name: "a", Source: fixedSource("", denied)}, {Name: "b", Source: hanging}},
			`"status" : "REQUEST_DENIED"`, 8 * time.Second},
		{"single source fails: its own body", []places.NamedSource{{Name: "a", Source: fixedSource("", denied)}}, "{denied}", 0},
		{"single source times out", []places.NamedSource{{Name: "a", Source: hanging}}, "did not answer in time", 8 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got := string(places.AppendResponse(t.Context(), nil, places.NewFallback(8*time.Second, tt.sources...), campus))
			if took := time.Since(start); !strings.Contains(got, tt.want) || took != tt.took {
				t.Errorf("%s: %s after %v, want %s after %v", tt.name, got, took, tt.want, tt.took)
			}
		})
	}
}

// After a cancelled query, the next source is not tried.
func TestFallbackCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := &countingSource{delay: time.Hour}
		second := &countingSource{}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		f := places.NewFallback(8*time.Second, places.NamedSource{Name: "a", Source: hanging}, places.NamedSource{Name: "b", Source: second})
		if _, err := f.Nearby(ctx, campus); !errors.Is(err, context.Canceled) || second.calls.Load() != 0 {
			t.Errorf("Nearby = %v and %d calls of the next source, want cancelled and none", err, second.calls.Load())
		}
	})
}
