package places

import (
	"context"
	"sync"
	"time"
)

// Singleflight removes duplicates among concurrent queries: those with equal cache keys share one call to the source.
// The call uses the query that arrived first. Queries that arrive before it ends get the same response or error.
//
// A call is cancelled when no caller waits for it any more. The cause is why the last one left: an error for which
// errors.Is is true with context.DeadlineExceeded if its time was over, or context.Canceled.
type Singleflight struct {
	src     Source
	timeout time.Duration

	mu    sync.Mutex
	calls map[Query]*call // in progress, by cache key
}

// call is a call to the source that is in progress.
type call struct {
	waiters int // guarded by Singleflight.mu
	cancel  context.CancelCauseFunc

	done chan struct{} // closed once body and err are set
	body []byte
	err  error
}

// NewSingleflight returns a source that shares calls to src. A call ends after timeout at the latest, even if the
// deadlines of its callers are later.
func NewSingleflight(src Source, timeout time.Duration) *Singleflight {
	return &Singleflight{src: src, timeout: timeout, calls: map[Query]*call{}}
}

// Nearby answers q.
func (s *Singleflight) Nearby(ctx context.Context, q Query) ([]byte, error) {
	key := q.CacheKey()
	c := s.join(ctx, key, q)
	select {
	case <-c.done:
		return c.body, c.err
	case <-ctx.Done():
		s.leave(key, c, ctx.Err())
		return nil, ctx.Err()
	}
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
		c.body, c.err = s.src.Nearby(ctx, q)
		s.mu.Lock()
		s.removeLocked(key, c)
		s.mu.Unlock()
		close(c.done)
	}()
	return c
}

// leave cancels and removes a call that no caller waits for any more. why is the reason of this caller to leave.
func (s *Singleflight) leave(key Query, c *call, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.waiters--; c.waiters == 0 {
		c.cancel(why)
		s.removeLocked(key, c)
	}
}

// removeLocked removes c, unless another call has replaced it.
func (s *Singleflight) removeLocked(key Query, c *call) {
	if s.calls[key] == c {
		delete(s.calls, key)
	}
}
