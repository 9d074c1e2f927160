package gctune

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

// TestPercent: garbage stays below 64 MB, but not far below, as long as that takes no
// percentage below the minimum.
func TestPercent(t *testing.T) {
	const mb = 1 << 20
	values, last := map[int]bool{}, 100
	for live := uint64(mb); live < 100_000*mb; live += live/50 + 1 {
		p := percentOf(live)
		garbage := uint64(p) * live / 100
		if garbage > 64*mb && p > 5 {
			t.Errorf("%d MB live: %d %% is %d MB of garbage, want 64 at most", live/mb, p, garbage/mb)
		}
		if garbage < 45*mb && p < 100 {
			t.Errorf("%d MB live: %d %% is %d MB of garbage, which is too few", live/mb, p, garbage/mb)
		}
		if p > last || p < 5 {
			t.Errorf("%d MB live: %d %%, after %d %% for less", live/mb, p, last)
		}
		last = p
		values[p] = true
	}
	if len(values) > 20 {
		t.Errorf("%d different percentages: each change stops the world", len(values))
	}
}

// percent is the process's GC percentage.
func percent() uint64 {
	p := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(p)
	return p[0].Value.Uint64()
}

// TestRun: with a large live heap the percentage falls, until Run ends. It does not
// if GOGC is set.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		gogc     string
		from, to uint64 // percent, of 256 MB that live
	}{{"", 20, 25}, {"100", 100, 100}} {
		t.Run("GOGC="+tt.gogc, func(t *testing.T) {
			t.Setenv("GOGC", tt.gogc)
			ballast := make([]byte, 256<<20)
			defer runtime.KeepAlive(ballast)
			runtime.GC() // counts it
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				go Run(ctx)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if p := percent(); p < tt.from || p > tt.to {
					t.Errorf("GC percentage %d with %d MB live, want %d to %d", p, len(ballast)>>20, tt.from, tt.to)
				}
				cancel()
				synctest.Wait()
				if p := percent(); p != 100 {
					t.Errorf("GC percentage %d after Run, want 100", p)
				}
			})
		})
	}
}
