package main

import (
	"runtime"
	gometrics "runtime/metrics"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for _, c := range []struct {
		live     uint64
		from, to int
	}{
		{0, usualPercent, usualPercent},
		{mostGarbage, usualPercent, usualPercent},
		{mostGarbage + 1<<20, 80, 99},
		{4 * mostGarbage, 20, 25},
		{100 * mostGarbage, leastPercent, leastPercent},
	} {
		if p := garbagePercent(c.live); p < c.from || p > c.to {
			t.Errorf("%d bytes live: %d %%, want %d to %d", c.live, p, c.from, c.to)
		}
	}
}

// TestCollectOften: with much that lives the collector runs more often, until it is
// told to stop; and not where the environment has a say.
func TestCollectOften(t *testing.T) {
	percent := func() uint64 { // as it is set
		p := []gometrics.Sample{{Name: "/gc/gogc:percent"}}
		gometrics.Read(p)
		return p[0].Value.Uint64()
	}
	ballast := make([]byte, 4*mostGarbage)
	defer runtime.KeepAlive(ballast)
	runtime.GC() // which counts it
	t.Run("as it is", func(t *testing.T) {
		stop := collectOften()
		for begun := time.Now(); percent() == usualPercent; time.Sleep(10 * time.Millisecond) {
			if time.Since(begun) > 10*lookEvery {
				t.Fatal("nothing changed")
			}
		}
		if p, want := percent(), uint64(25); p > want {
			t.Errorf("%d %% of garbage with %d MB live, want %d at most", p, len(ballast)>>20, want)
		}
		stop()
		if p := percent(); p != usualPercent {
			t.Errorf("%d %% of garbage afterwards", p)
		}
	})
	t.Run("as the environment says", func(t *testing.T) {
		t.Setenv("GOGC", "100")
		defer collectOften()()
		time.Sleep(2 * lookEvery)
		if p := percent(); p != usualPercent {
			t.Errorf("%d %% of garbage", p)
		}
	})
}
