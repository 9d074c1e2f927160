package places

import (
	"context"
	"errors"
	"sync"
	"time"
)

// longestPause is the most that a Breaker makes of short waits.
const longestPause = 10 * time.Minute

// Breaker leaves a source alone when that has said how long asking again does not help (Error.Wait): until a quota's
// reset, for a minute, or what a busy server asks for. Meanwhile questions fail at once, with the source's own status and
// message.
//
// Waits double from one to the next, up to ten minutes, until the source answers again; one that is longer by itself is
// kept to.
type Breaker struct {
	src Source

	mu    sync.Mutex
	until time.Time // before which src is not asked
	why   *Error
	times int // that it opened since src last answered
}

// NewBreaker returns a source that asks src while that may help.
func NewBreaker(src Source) *Breaker { return &Breaker{src: src} }

// Nearby answers q.
func (b *Breaker) Nearby(ctx context.Context, q Query) ([]byte, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	body, err := b.src.Nearby(ctx, q)
	b.learn(err)
	return body, err
}

// open returns why src is not to be asked, or nil.
func (b *Breaker) open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !time.Now().Before(b.until) {
		return nil
	}
	return &Error{
		Status:  b.why.Status,
		Message: b.why.Message + " (not asked again before " + b.until.UTC().Format("2006-01-02 15:04:05 MST") + ")",
		Err:     b.why.Err,
	}
}

func (b *Breaker) learn(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var known *Error
	switch {
	case err == nil:
		b.times = 0
	case errors.As(err, &known) && known.Wait > 0 && !now.Before(b.until): // and not of a question asked before it opened
		wait := known.Wait
		for range b.times {
			wait = max(known.Wait, min(2*wait, longestPause))
		}
		b.times++
		b.until, b.why = now.Add(wait), known
	}
}
