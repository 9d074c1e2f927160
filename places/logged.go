package places

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// Logged logs when a source starts to fail and when it recovers. It logs the failures in between at debug level, and
// ignores cancelled queries.
type Logged struct {
	src     Source
	log     *slog.Logger
	failing atomic.Bool
}

// NewLogged returns a source that queries src and logs to log.
func NewLogged(src Source, log *slog.Logger) *Logged { return &Logged{src: src, log: log} }

// Nearby answers q.
func (l *Logged) Nearby(ctx context.Context, q Query) ([]byte, error) {
	body, err := l.src.Nearby(ctx, q)
	switch {
	case err == nil:
		if l.failing.CompareAndSwap(true, false) {
			l.log.Info("places source recovered")
		}
	case errors.Is(err, context.Canceled):
	case l.failing.CompareAndSwap(false, true):
		l.log.Warn("places source failed", "err", err)
	default:
		l.log.Debug("places source failed", "err", err)
	}
	return body, err
}
