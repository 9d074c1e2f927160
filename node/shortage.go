package node

import (
	"log/slog"
	"sync"
	"time"
)

// shortageOver is how long after the last wait for a file descriptor a shortage is over.
const shortageOver = 10 * time.Second

// shortage logs when clients begin to wait because the process is out of file
// descriptors, and how often they have waited when that is over: two lines, however long
// it lasts. It is safe for concurrent use.
type shortage struct {
	log   *slog.Logger
	quiet *time.Timer

	mu    sync.Mutex
	waits int // since it began
	began time.Time
}

func newShortage(log *slog.Logger) *shortage {
	s := &shortage{log: log}
	s.quiet = time.AfterFunc(shortageOver, s.over)
	s.quiet.Stop()
	return s
}

// note notes that clients wait. err says why.
func (s *shortage) note(err error) {
	s.mu.Lock()
	s.waits++
	first := s.waits == 1
	if first {
		s.began = time.Now()
	}
	s.quiet.Reset(shortageOver)
	s.mu.Unlock()
	if first {
		s.log.Warn("clients wait for file descriptors: raise the limit of open files", "err", err)
	}
}

func (s *shortage) over() {
	s.mu.Lock()
	waits, took := s.waits, time.Since(s.began)
	s.waits = 0
	s.mu.Unlock()
	if waits > 0 {
		s.log.Info("clients no longer wait for file descriptors", "waits", waits, "took", took)
	}
}

// end ends a shortage without a word: no more clients are accepted.
func (s *shortage) end() { s.quiet.Stop() }
