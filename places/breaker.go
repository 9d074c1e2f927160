package places

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxBackoff is the longest pause that doubling a RetryAfter can reach.
	maxBackoff = 10 * time.Minute

	// A source that leaves maxFailures consecutive queries unanswered is paused, for firstPause and, as long as its probes
	// fail, for twice the time again, up to maxPause.
	maxFailures = 3
	firstPause  = 5 * time.Second
	maxPause    = time.Minute

	probeTimeout = 5 * time.Second        // of a probe
	probeWait    = 300 * time.Millisecond // how long the query that became a probe waits for its response
)

// Breaker is a circuit breaker. It pauses a source that cannot serve queries now. Meanwhile queries fail at once, with the
// status and message of the error that was the cause.
//
//   - An error with RetryAfter pauses the source until that time has passed. Consecutive pauses double, up to ten minutes,
//     until a query succeeds. A longer RetryAfter is never shortened.
//   - Three consecutive queries without an answer (timeouts and Retryable errors, such as a connection that is refused)
//     pause it for 5 s. Then one query probes it, in the background: if there is no response within 0.3 s, the query fails
//     as during the pause. A failed probe doubles the pause, up to a minute. A response ends it.
//
// Cancelled queries do not count. A query in which the source panics counts as one without an answer. The panic goes on in
// the goroutine of the caller.
type Breaker struct {
	src Source
	log *slog.Logger

	mu        sync.Mutex
	openUntil time.Time // src is paused until then
	cause     *Error    // of the pause
	pauses    int       // since the last success
	failures  int       // consecutive queries without an answer
	silent    bool      // the cause is failures: after the pause, only a probe reaches src
	probing   bool      // a probe is in progress
}

// errPanicked is the error of a query that did not return.
var errPanicked = &Error{Status: StatusUnknownError, Message: "the places source failed", Err: errors.New("it panicked"), Retryable: true}

// NewBreaker returns a source that queries src unless it is paused. It logs the first of consecutive pauses, and a panic
// in a probe that no caller waits for any more.
func NewBreaker(src Source, log *slog.Logger) *Breaker { return &Breaker{src: src, log: log} }

// Nearby answers q.
func (b *Breaker) Nearby(ctx context.Context, q Query) ([]byte, error) {
	probe, err := b.admit()
	switch {
	case err != nil:
		return nil, err
	case probe:
		return b.probe(ctx, q)
	}
	return b.query(ctx, q, false)
}

// query queries src and records the outcome, also if src panics.
func (b *Breaker) query(ctx context.Context, q Query, probe bool) (body []byte, err error) {
	err = errPanicked // unless src returns
	defer func() { b.record(err, probe) }()
	return b.src.Nearby(ctx, q)
}

// admit returns an error while src is paused. probe says that the query must be a probe.
func (b *Breaker) admit() (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.probing || time.Now().Before(b.openUntil):
		return false, b.pausedLocked()
	case b.silent:
		b.probing = true
		return true, nil
	}
	return false, nil
}

// pausedLocked returns the error for queries during a pause, and during the probe after it.
func (b *Breaker) pausedLocked() *Error {
	state := "paused, a probe is in progress"
	if time.Now().Before(b.openUntil) {
		state = "paused until " + b.openUntil.UTC().Format("2006-01-02 15:04:05 MST")
	}
	return &Error{Status: b.cause.Status, Message: b.cause.Message + " (" + state + ")", Err: b.cause.Err}
}

// probe queries src in the background. The caller gets the response if it comes soon.
func (b *Breaker) probe(ctx context.Context, q Query) ([]byte, error) {
	done, left := make(chan outcome), make(chan struct{})
	defer close(left)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		o := catch(func() ([]byte, error) { return b.query(ctx, q, true) })
		select {
		case done <- o:
		case <-left:
			o.logUnseen(b.log, q)
		}
	}()
	timer := time.NewTimer(probeWait)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.result()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
		b.mu.Lock()
		defer b.mu.Unlock()
		return nil, b.pausedLocked()
	}
}

// record notes the outcome of a query that reached src, and pauses src if that is due.
func (b *Breaker) record(err error, probe bool) {
	if paused, until := b.note(err, probe); paused {
		b.log.Warn("places source paused: queries to it fail at once", "until", until.UTC().Format(time.RFC3339), "err", err)
	}
}

// note reports whether the first of consecutive pauses begins, and when it ends.
func (b *Breaker) note(err error, probe bool) (paused bool, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if probe {
		b.probing = false
	}
	var e *Error
	asked := errors.As(err, &e) && e.RetryAfter > 0
	switch {
	case err == nil:
		b.pauses, b.failures, b.silent, b.openUntil = 0, 0, false, time.Time{}
		return false, time.Time{}
	case errors.Is(err, context.Canceled):
		return false, time.Time{}
	case !probe && (b.silent || now.Before(b.openUntil)): // the query began before the pause
		return false, time.Time{}
	case !asked && unanswered(err):
		if b.failures++; b.failures < maxFailures {
			return false, time.Time{}
		}
	default: // an answer, although an error
		b.failures = 0
		if b.silent {
			b.pauses, b.silent = 0, false
		}
		if !asked {
			return false, time.Time{}
		}
	}
	shortest, longest := firstPause, maxPause
	if asked {
		shortest, longest = e.RetryAfter, max(e.RetryAfter, maxBackoff)
	} else if !b.silent { // the pauses before had another cause
		b.pauses, b.silent = 0, true
	}
	b.cause = clientError(err)
	b.pauseLocked(now, shortest, longest)
	return b.pauses == 1, b.openUntil
}

// pauseLocked begins a pause: the first one is shortest, consecutive ones double up to longest.
func (b *Breaker) pauseLocked(now time.Time, shortest, longest time.Duration) {
	pause := shortest
	for range b.pauses {
		pause = min(2*pause, longest)
	}
	b.pauses++
	b.openUntil = now.Add(pause)
}

// unanswered reports whether a query failed without saying anything about the query: the source did not answer in time,
// the connection broke, or the service failed.
func unanswered(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Retryable
	}
	return errors.Is(err, context.DeadlineExceeded)
}
