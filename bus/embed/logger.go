package embed

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logger passes the log of the NATS server on: notices, which report each step of its
// start and stop, at debug level. Errors are limited, since a client can cause denials
// as fast as it likes: at most one per second and kind, with the count since the last.
type logger struct {
	log   *slog.Logger
	fatal chan string // capacity 1

	mu     sync.Mutex
	errors map[string]*repeated // by kind
}

type repeated struct {
	count  int // since logged
	logged time.Time
}

const (
	errorInterval = time.Second
	maxErrorKinds = 1000 // kept; then all are forgotten
)

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
	l.mu.Lock()
	if len(l.errors) >= maxErrorKinds {
		clear(l.errors)
	}
	kind := format[strings.LastIndex(format, " - ")+1:] // without the client, which comes first
	e := l.errors[kind]
	if e == nil {
		e = &repeated{}
		l.errors[kind] = e
	}
	e.count++
	count, limited := e.count, time.Since(e.logged) < errorInterval
	if !limited {
		e.count, e.logged = 0, time.Now()
	}
	l.mu.Unlock()
	if limited {
		return
	}
	l.log.Error("nats-server error", "text", fmt.Sprintf(format, v...), "count", count)
}

// Fatalf reports that the NATS server cannot continue. Start returns the reason.
func (l *logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
