package places

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Singleflight removes duplicates among concurrent queries: those with equal cache keys share one call to the source.
// The call uses the query that arrived first. Queries that arrive before it ends get the same response or error.
//
// A call is cancelled when no caller waits for it any more. The cause is why the last one left: an error for which
// errors.Is is true with context.DeadlineExceeded if its time was over, or context.Canceled.
//
// If the source panics, so does each query that waits for the call, in the goroutine of its caller.
type Singleflight struct {
	src     Source
	timeout time.Duration
	log     *slog.Logger

	mu    sync.Mutex
	calls map[Query]*call // in progress, by cache key
}

// call is a call to the source that is in progress.
type call struct {
	waiters int // guarded by Singleflight.mu
	cancel  context.CancelCauseFunc

	done    chan struct{} // closed once outcome is set, with Singleflight.mu held
	outcome outcome
}

// NewSingleflight returns a source that shares calls to src. A call ends after timeout at the latest, even if the
// deadlines of its callers are later. A panic of src for which no caller waits any more is only logged.
func NewSingleflight(src Source, timeout time.Duration, log *slog.Logger) *Singleflight {
	return &Singleflight{src: src, timeout: timeout, log: log, calls: map[Query]*call{}}
}

// Nearby answers q.
func (s *Singleflight) Nearby(ctx context.Context, q Query) ([]byte, error) {
	key := q.CacheKey()
	c := s.join(ctx, key, q)
	select {
	case <-c.done:
	case <-ctx.Done():
		if s.leave(key, c, ctx.Err()) {
			return nil, ctx.Err()
		}
	}
	return c.outcome.result()
}

// join returns the call in progress for key. If there is none, it starts one.
func (s *Singleflight) join(ctx context.Context, key Query, q Query) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.calls[key]; ok {
		c.waiters++
		return c
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	ctx, cancel := context.WithCancelCause(ctx)
	c := &call{waiters: 1, cancel: cancel, done: make(chan struct{})}
	s.calls[key] = c
	go func() {
		defer stop()
		c.outcome = catch(func() ([]byte, error) { return s.src.Nearby(ctx, q) })
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removeLocked(key, c)
		close(c.done)
		if c.waiters == 0 {
			c.outcome.logUnseen(s.log, q)
		}
	}()
	return c
}

// leave cancels and removes a call that no caller waits for any more. why is the reason of this caller to leave. It
// returns false if the call has ended: then the caller must take its outcome.
func (s *Singleflight) leave(key Query, c *call, why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-c.done:
		return false
	default:
	}
	if c.waiters--; c.waiters == 0 {
		c.cancel(why)
		s.removeLocked(key, c)
	}
	return true
}

// removeLocked removes c, unless another call has replaced it.
func (s *Singleflight) removeLocked(key Query, c *call) {
	if s.calls[key] == c {
		delete(s.calls, key)
	}
}
