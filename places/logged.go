package places

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// Logged tells a log when a source begins to fail and when it answers again; what comes in between, at level debug.
// Questions that nobody waits for any more are no failures.
type Logged struct {
	src     Source
	log     *slog.Logger
	failing atomic.Bool
}

// NewLogged returns src as log hears of it.
func NewLogged(src Source, log *slog.Logger) *Logged { return &Logged{src: src, log: log} }

// Nearby answers q.
func (l *Logged) Nearby(ctx context.Context, q Query) ([]byte, error) {
	body, err := l.src.Nearby(ctx, q)
	switch {
	case err == nil:
		if l.failing.CompareAndSwap(true, false) {
			l.log.Info("places answer again")
		}
	case errors.Is(err, context.Canceled):
	case l.failing.CompareAndSwap(false, true):
		l.log.Warn("places fail", "err", err)
	default:
		l.log.Debug("places fail", "err", err)
	}
	return body, err
}
