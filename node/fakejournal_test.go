package node

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeJournal is a journal in memory that can be made to fail or to block.
type fakeJournal struct {
	took time.Duration // by an Append; constant

	mu      sync.Mutex
	lines   []string
	appends int           // calls of Append
	fail    error         // if not nil, Append returns it
	hold    chan struct{} // if not nil, Append blocks until it is closed
	closed  bool
}

func (j *fakeJournal) Open(replay func([]byte)) ([]string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = false
	for _, line := range j.lines {
		replay([]byte(line))
	}
	return nil, nil
}

func (j *fakeJournal) Append(frames [][]byte) error {
	j.mu.Lock()
	hold := j.hold
	j.appends++
	j.mu.Unlock()
	time.Sleep(j.took)
	if hold != nil {
		<-hold
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	for _, frame := range frames {
		for line := range strings.Lines(string(frame)) {
			j.lines = append(j.lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return nil
}

func (j *fakeJournal) NeedsCompaction(int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines) > 100
}

func (j *fakeJournal) Compact(ctx context.Context, next func() [][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	before := len(j.lines)
	j.mu.Unlock()
	for frames := next(); len(frames) > 0; frames = next() {
		if err := j.Append(frames); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = j.lines[before:]
	return nil
}

func (j *fakeJournal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return nil
}

func (j *fakeJournal) set(fail error, hold chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail, j.hold = fail, hold
}

// has reports whether the journal contains a line, given with or without its LF.
func (j *fakeJournal) has(line string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Contains(j.lines, strings.TrimSuffix(line, "\n"))
}

func (j *fakeJournal) length() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.lines)
}

// withJournal configures a journal.
func withJournal(j Journal) func(*Config) {
	return func(cfg *Config) { cfg.Journal = j }
}
