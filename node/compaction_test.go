package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/bus/bustest"
	"herd/node/journal"
)

// TestCompaction: a journal that has grown is compacted, and contains the map.
func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &fakeJournal{}
		h.start("Solo", 1, withJournal(j)).node.AwaitReady(t.Context())
		c := h.dial("Solo")
		emu := c.ask("IAMAT emu +1+1 1")
		for i := range 150 {
			c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 100+i))
		}
		settle()
		if j.length() > 101 || !j.has(emu) || !j.has(h.record("Solo", "kiwi")) {
			t.Errorf("the journal has %d lines, want at most 101, and the newest records of emu and kiwi", j.length())
		}
	})
}

// slowCompaction is a journal whose compaction takes 20 s.
type slowCompaction struct {
	*fakeJournal
	compacting chan struct{} // closed when the compaction begins
	compacted  chan struct{} // closed when it has ended
}

func (j *slowCompaction) NeedsCompaction(int64) bool {
	select {
	case <-j.compacting:
		return false
	default:
		return j.fakeJournal.NeedsCompaction(0)
	}
}

func (j *slowCompaction) Compact(ctx context.Context, next func() [][]byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	close(j.compacting)
	time.Sleep(20 * time.Second)
	defer close(j.compacted)
	return j.fakeJournal.Compact(ctx, next)
}

// TestRepliesDuringCompaction: a long compaction delays no reply.
func TestRepliesDuringCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		j := &slowCompaction{&fakeJournal{}, make(chan struct{}), make(chan struct{})}
		h.start("Solo", 1, withJournal(j)).node.AwaitReady(t.Context())
		c := h.dial("Solo")
		for i := range 102 {
			c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 100+i))
		}
		<-j.compacting
		for i := range 5 {
			began := time.Now()
			reply := c.ask(fmt.Sprintf("IAMAT emu +1+1 %d", 100+i))
			if took := time.Since(began); took > maxBatchDelay {
				t.Errorf("reply %d took %v, want at most %v", i, took, maxBatchDelay)
			}
			if !j.has(reply) {
				t.Errorf("reply %d left before its record was in the journal", i)
			}
			time.Sleep(time.Second)
		}
		select {
		case <-j.compacted:
			t.Error("the compaction has ended already: this test shows nothing")
		default:
		}
		<-j.compacted
	})
}

// failingCompaction is a journal that is damaged, and whose first compactions fail.
type failingCompaction struct {
	*fakeJournal
	failures int
	tried    []time.Time
}

func (j *failingCompaction) NeedsCompaction(int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.tried) <= j.failures
}

func (j *failingCompaction) Compact(ctx context.Context, next func() [][]byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	j.mu.Lock()
	j.tried = append(j.tried, time.Now())
	fails := len(j.tried) <= j.failures
	j.mu.Unlock()
	if fails {
		return errors.New("disk full")
	}
	return j.fakeJournal.Compact(ctx, next)
}

// TestCompactionFails: a damaged journal is compacted soon after the start, without news.
// A compaction that fails is retried each few seconds, also while news arrives. One event
// reports the failure, and one its end.
func TestCompactionFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "Solo")
		events := make(chan string, 100)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.Solo.journal" {
				events <- string(m.Data)
			}
		})
		j := &failingCompaction{fakeJournal: &fakeJournal{}, failures: 3}
		began := time.Now()
		var log logBuffer
		h.start("Solo", 1, func(cfg *Config) {
			cfg.Journal, cfg.Log = j, slog.New(slog.NewTextHandler(&log, nil))
		}).node.AwaitReady(t.Context())
		c := h.dial("Solo")
		for i := range 20 {
			c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 100+i))
			time.Sleep(compactRetry / 4)
		}
		time.Sleep(time.Minute)
		if len(j.tried) != j.failures+1 || j.tried[0].Sub(began) > time.Second || j.tried[3].Sub(j.tried[0]) != 3*compactRetry {
			t.Errorf("compactions at %v, want at once and then %d more, each %v", j.tried, j.failures, compactRetry)
		}
		close(events)
		failed, worked := 0, 0
		for text := range events {
			failed += strings.Count(text, "the journal was not compacted: disk full")
			worked += strings.Count(text, "the journal is compacted again")
		}
		if failed > 1 || worked != 1 { // the first may be too early for the bus
			t.Errorf("%d events for the failure, %d for its end, want one each", failed, worked)
		}
		if want := `level=INFO msg=journal node=Solo text="the journal is compacted again"`; !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %s: %s", want, log.String())
		}
	})
}

// TestAppendAfterCompactions: an append that waits for a compaction does not wait any more
// when compactJournal has ended, and none waits afterwards.
func TestAppendAfterCompactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(journal.Config{Dir: t.TempDir(), Log: discard})
		n := New(Config{Name: "A", Limits: generous, Bus: (&bustest.Network{}).Bus("A"), Log: discard, Journal: j})
		if err := n.replayJournal(); err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.compactJournal(ctx)
		}()
		synctest.Wait()
		frame := [][]byte{bytes.Repeat([]byte("AT A +1.000000000 kiwi +1+1 100\n"), 10_000)}
		for range 40 { // more than 12 MB
			if err := j.Append(frame); err != nil {
				t.Fatal(err)
			}
		}
		// As if compactJournal chose the end of ctx over grown.
		if !n.needsCompaction() {
			t.Fatal("the journal is not compacted: this test shows nothing")
		}
		appended := make(chan error, 1)
		go func() { appended <- j.Append(frame) }()
		synctest.Wait()
		if len(appended) > 0 {
			t.Fatal("the append does not wait: this test shows nothing")
		}
		cancel()
		<-ended
		synctest.Wait()
		for range 2 {
			if len(appended) == 0 {
				t.Error("the append waits after the last compaction")
				j.Compact(ctx, nil) // so that the test ends
			}
			if err := <-appended; err != nil {
				t.Error(err)
			}
			n.needsCompaction()
			go func() { appended <- j.Append(frame) }()
			synctest.Wait()
		}
		<-appended
	})
}
