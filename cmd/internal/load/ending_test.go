package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLate: a record that comes late is looked at again, and reported.
func TestLate(t *testing.T) {
	t.Parallel()
	stale := map[string]bool{}
	var mu sync.Mutex
	h := &herd{lie: func(n int, server, reply string) (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if f := strings.Fields(reply); server == "B" && n == 0 && len(f) > 3 && !stale[f[3]] && f[3] == "t.3" {
			stale[f[3]] = true
			return "? not yet\n", true
		}
		return reply, true
	}}
	r := mustRun(t, small(h.listen(t, "A", "B")...))
	if err := r.Fault(); err != nil || r.Check.Late != 1 {
		t.Errorf("Fault = %v, %d late, want 1", err, r.Check.Late)
	}
}

// TestInterrupt: a load that is ended reports what it has.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 10_000} {
		ctx, cancel := context.WithCancel(t.Context())
		h := &herd{lie: func(n int, _, reply string) (string, bool) {
			if n == 500 {
				cancel()
			}
			return reply, true
		}}
		cfg := small(h.listen(t, "A")...)
		cfg.Count, cfg.Rate = MaxCount, rate
		r, err := Run(ctx, cfg)
		if err != nil || r.Fault() != nil || !r.Interrupted || r.Replies < 500 || r.Check != nil {
			t.Errorf("Run = %v, fault %v\n%s", err, r.Fault(), r.Text())
		}
	}
}

func TestDurationEndsIt(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 1000} {
		cfg := small((&herd{}).listen(t, "A")...)
		cfg.Count, cfg.Duration, cfg.Rate = MaxCount, 50*time.Millisecond, rate
		if r := mustRun(t, cfg); r.Fault() != nil || r.Elapsed < cfg.Duration || r.Interrupted {
			t.Errorf("%v\n%s", r.Fault(), r.Text())
		}
	}
}

// TestCoordinatedOmission: at a rate, a stall is charged with all that was due
// meanwhile.
func TestCoordinatedOmission(t *testing.T) {
	t.Parallel()
	const stall = 200 * time.Millisecond
	h := &herd{lie: func(n int, _, reply string) (string, bool) {
		if n == 100 {
			time.Sleep(stall) // the stall that is to be seen
		}
		return reply, true
	}}
	cfg := small(h.listen(t, "A")...)
	cfg.Rate, cfg.Count, cfg.Pipeline = 1000, 400, 1 // half of them are due while the server stalls
	r := mustRun(t, cfg)
	if r.Unsent != 0 {
		t.Errorf("%d unsent, although the bound in count ended it", r.Unsent)
	}
	if p := r.Latencies.Quantile(0.75); r.Fault() != nil || p < stall/4 {
		t.Errorf("three quarters of the replies within %v\n%s", p, r.Text())
	}
}

// TestUnsent: what a server has no room for is counted when the time is over.
func TestUnsent(t *testing.T) {
	t.Parallel()
	const duration = 200 * time.Millisecond
	h := &herd{lie: func(n int, _, reply string) (string, bool) {
		if n == 2 {
			time.Sleep(2 * duration) // beyond the end of the load, which has begun
		}
		return reply, true
	}}
	cfg := small(h.listen(t, "A")...)
	cfg.Rate, cfg.Count, cfg.Pipeline, cfg.Duration = 1000, MaxCount, 1, duration
	r := mustRun(t, cfg)
	if r.Fault() != nil || r.Commands != 2 || r.Unsent < 150 || !strings.Contains(r.Text(), "did not keep up") {
		t.Errorf("%d sent, %d not\n%s", r.Commands, r.Unsent, r.Text())
	}
}

func TestCannotBegin(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	for _, settle := range []time.Duration{0, time.Second} {
		cfg := small(ln.Addr().String())
		cfg.Settle = settle
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.Addresses[0]) {
			t.Errorf("Run = %v", err)
		}
	}
}

// TestInterruptedStart: a load that is interrupted before it begins reports what was configured,
// and no null in place of a list.
func TestInterruptedStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := small("127.0.0.1:1")
	report, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(&report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"servers":[]`, `"interrupted":true`, `"addresses":["127.0.0.1:1"]`, fmt.Sprintf(`"connections":%d,"pipeline":%d,"clients":%d`, cfg.Connections, cfg.Pipeline, cfg.Clients),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s has no %s", text, want)
		}
	}
}
