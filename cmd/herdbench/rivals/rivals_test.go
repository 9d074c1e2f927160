package rivals

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// lab is shared by all tests, because it takes long to build.
var lab *Lab

func TestMain(m *testing.M) {
	RunChild()
	if runtime.GOOS != "linux" {
		fmt.Println("skipped: herdbench runs on Linux only")
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rivals")
	if err == nil {
		defer os.RemoveAll(dir)
		lab, err = NewLab(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// TestRivals runs a small workload on every rival that is installed, and checks that
// every server has all of it.
func TestRivals(t *testing.T) {
	t.Parallel()
	for _, r := range All() {
		t.Run(r.Name(), func(t *testing.T) {
			t.Parallel()
			system, err := Start(t.Context(), lab, r)
			if errors.Is(err, ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer system.Stop()
			ran := 0
			for _, w := range []Workload{{Connections: 3, Pipeline: 64}, {Connections: 5, Pipeline: 1, All: true}} {
				w.Clients, w.Count, w.Duration = 100, 2000, time.Minute
				out, err := system.Run(t.Context(), w)
				if errors.Is(err, ErrCannot) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				ran++
				if out.Updates < w.Count || out.Replicated <= 0 || out.Lost != 0 || out.Differing != 0 {
					t.Errorf("%+v: %d updates, %.0f a second, %d lost, %d differing", w, out.Updates, out.Replicated, out.Lost, out.Differing)
				}
			}
			if ran == 0 {
				t.Error("it has no workload")
			}
			system.Stop()
			for _, p := range system.Processes() {
				select {
				case <-p.ended:
				default:
					t.Errorf("%s still runs", p.what)
				}
			}
		})
	}
}

// TestCancelled: cancelling the context stops everything that was started with it.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	system, err := Start(ctx, lab, Serve("herd", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer system.Stop()
	cancel()
	for _, p := range system.Processes() {
		select {
		case <-p.ended:
		case <-time.After(time.Minute):
			t.Errorf("%s still runs", p.what)
		}
	}
	if _, err := Start(ctx, lab, Serve("herd", "")); err == nil {
		t.Error("a herd starts under a context that has ended")
	}
}

// TestLosses: a follower that stops following is detected.
func TestLosses(t *testing.T) {
	t.Parallel()
	system, err := Start(t.Context(), lab, redis)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer system.Stop()
	s := system.(*respSystem)
	if _, err := askOnce(s.addresses[2], []string{"REPLICAOF", "NO", "ONE"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if out, err := s.Run(ctx, Workload{Connections: 1, Pipeline: 1, Clients: 1, Duration: time.Minute, Count: 10}); err == nil {
		t.Errorf("not noticed: %+v", out)
	}
}
