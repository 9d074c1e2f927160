package embed

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"herd/bus/ratenote"
)

// logger passes the log of the NATS server on: notices, which report each step of its
// start and stop, at debug level. Errors are limited, since a client can cause denials
// as fast as it likes: at most one per second and kind, with the count since the last.
type logger struct {
	log    *slog.Logger
	fatal  chan string      // capacity 1
	errors ratenote.Limiter // by kind
}

func (l *logger) Noticef(format string, v ...any) {
	l.log.Debug("nats-server notice", "text", fmt.Sprintf(format, v...))
}

func (l *logger) Warnf(format string, v ...any) {
	l.log.Warn("nats-server warning", "text", fmt.Sprintf(format, v...))
}

func (l *logger) Debugf(format string, v ...any) {}
func (l *logger) Tracef(format string, v ...any) {}

// Errorf logs what the NATS server denied or could not do.
func (l *logger) Errorf(format string, v ...any) {
	kind := format[strings.LastIndex(format, " - ")+1:] // without the client, which comes first
	l.errors.Note(kind, fmt.Sprintf(format, v...), 1)
	l.report()
}

// reportEvery calls report at an interval until stop is called: the last errors are
// reported although no further ones follow.
func (l *logger) reportEvery(interval time.Duration) (stop func()) {
	tick, done := time.NewTicker(interval), make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
				l.report()
			case <-done:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		tick.Stop()
		close(done)
		l.report()
	})
}

// report logs errors: at once, and then once a second with a count.
func (l *logger) report() {
	for _, r := range l.errors.Due(time.Now()) {
		l.log.Error("nats-server error", "text", r.Text, "count", r.Count)
	}
}

// Fatalf reports that the NATS server cannot continue. Start returns the reason.
func (l *logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
