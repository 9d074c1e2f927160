package embed

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logger hands the NATS server's log on: its notices, which tell of each step of
// its own life, are debugging to ours. Of errors of one kind there is one a second at
// most, with a count: who is refused may try as fast as it likes.
type logger struct {
	log   *slog.Logger
	fatal chan string

	mu     sync.Mutex
	errors map[string]*repeated // by kind
}

type repeated struct {
	count  int // since logged
	logged time.Time
}

const (
	errorsEvery = time.Second
	errorKinds  = 1000 // that are remembered
)

func (l *logger) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  {}
func (l *logger) Tracef(format string, v ...any)  {}

// Errorf is the NATS server's word on what it refused or could not do.
func (l *logger) Errorf(format string, v ...any) {
	l.mu.Lock()
	if len(l.errors) >= errorKinds {
		clear(l.errors)
	}
	kind := format[strings.LastIndex(format, " - ")+1:] // before it stands which client it is about
	e := l.errors[kind]
	if e == nil {
		e = &repeated{}
		l.errors[kind] = e
	}
	e.count++
	count, quiet := e.count, time.Since(e.logged) < errorsEvery
	if !quiet {
		e.count, e.logged = 0, time.Now()
	}
	l.mu.Unlock()
	if quiet {
		return
	}
	l.log.Error("nats: "+fmt.Sprintf(format, v...), "times", count)
}

// Fatalf is the NATS server's word that it cannot go on; Start returns it.
func (l *logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
