package gazetteer

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"herd/places"
)

var loadOnce = sync.OnceValues(func() (*Gazetteer, error) {
	g := New()
	return g, g.Load()
})

// full returns the built-in gazetteer, loaded once for all tests.
func full(tb testing.TB) *Gazetteer {
	tb.Helper()
	g, err := loadOnce()
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// Lines of a file are written with commas for tabs in these tests, for the eye.
var commas = strings.NewReplacer(",", "\t")

// good is such a line, and atGood a query that finds it.
const good = "gn:1,Here,34.0689,-118.4451,locality|political,US,500,geonames"

var atGood = places.Query{Lat: 34.0689, Lon: -118.4451, Radius: 100, Bound: 20}

// tsv makes a file of lines.
func tsv(lines ...string) string {
	text := header + "\n"
	for _, l := range lines {
		text += commas.Replace(l) + "\n"
	}
	return text
}

// of returns a gazetteer of lines.
func of(t *testing.T, lines ...string) *Gazetteer {
	t.Helper()
	g, err := Read(strings.NewReader(tsv(lines...)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// The counts are README.md's.
func TestBuiltin(t *testing.T) {
	ix := full(t).ix
	localities, populated := 0, 0
	for i := range ix.rows {
		if ix.classes[ix.rows[i].class].locality {
			localities++
		}
		if ix.rows[i].people > 0 {
			populated++
		}
	}
	if len(ix.rows) != 263_649 || localities != 219_799 || populated != 168_986 {
		t.Errorf("%d places, %d localities, %d with a population", len(ix.rows), localities, populated)
	}
	for _, c := range ix.classes {
		if _, ok := kinds[c.types[0]]; !ok {
			t.Errorf("no kind for main type %q", c.types[0])
		}
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNearbyLoads(t *testing.T) {
	g := unloaded(packed(t, tsv(good)))
	body, err := g.Nearby(t.Context(), atGood)
	if err != nil || !strings.Contains(string(body), `"gn:1"`) {
		t.Errorf("Nearby before any Load = %s, %v, want gn:1", body, err)
	}
}

func TestNearbyGivesUpWithContext(t *testing.T) {
	g := unloaded(packed(t, tsv(good)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Nearby(ctx, atGood)
	checkUnknown(t, err, "the gazetteer is still loading", context.Canceled)

	// Once it is loaded there is nothing to wait for.
	if err := g.Load(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Nearby(ctx, atGood); err != nil {
		t.Errorf("Nearby of a loaded gazetteer = %v, want nil", err)
	}
}

// checkUnknown wants err to be UNKNOWN_ERROR with a message and, for the operator, a cause.
func checkUnknown(t *testing.T, err error, message string, cause error) {
	t.Helper()
	var known *places.Error
	if !errors.As(err, &known) || known.Status != "UNKNOWN_ERROR" || known.Message != message || !errors.Is(err, cause) {
		t.Errorf("Nearby = %v, want UNKNOWN_ERROR, %s, %v", err, message, cause)
	}
}

func TestLoadFails(t *testing.T) {
	whole := packed(t, tsv(good))
	for name, list := range map[string]string{
		"empty":      "",
		"short":      "\x1f\x8b",
		"no gzip":    tsv(good),
		"cut":        whole[:len(whole)-9],
		"wrong size": whole[:len(whole)-4] + "\xff\xff\xff\xff",
		"bad row":    packed(t, tsv(good, "x,y")),
	} {
		t.Run(name, func(t *testing.T) {
			g := unloaded(list)
			err := g.Load()
			if err == nil || !strings.HasPrefix(err.Error(), "load gazetteer: ") {
				t.Errorf("Load = %v, want an error that says what was done", err)
			}
			if again := g.Load(); again != err {
				t.Errorf("second Load = %v, want %v", again, err)
			}
			_, nearby := g.Nearby(t.Context(), atGood)
			checkUnknown(t, nearby, "the gazetteer could not be loaded", err)
		})
	}
}

func TestLoadOnce(t *testing.T) {
	g := unloaded(packed(t, tsv(good)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := g.Load(); err != nil {
				t.Error(err)
			}
			if _, err := g.Nearby(t.Context(), atGood); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	before := g.ix
	if err := g.Load(); err != nil || g.ix != before {
		t.Errorf("a later Load = %v, or it did the work again", err)
	}

	read := of(t, good)
	before = read.ix
	if err := read.Load(); err != nil || read.ix != before {
		t.Errorf("Load of what Read returned = %v, or it did some work", err)
	}
}

func TestNearbyChecksQuery(t *testing.T) {
	bad := atGood
	bad.Bound = 21
	var known *places.Error
	if _, err := New().Nearby(t.Context(), bad); !errors.As(err, &known) || known.Status != "INVALID_REQUEST" {
		t.Errorf("Nearby(%+v) = %v, want INVALID_REQUEST", bad, err)
	}
}
