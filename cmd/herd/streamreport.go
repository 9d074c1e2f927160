package main

import (
	"log/slog"
	"sync"
)

// streamReport reports the streams of clients to operators.
type streamReport interface {
	// Began says that a stream of a server has begun.
	Began(server string)
	// Lost says that the stream of a server has ended with err, and that the next server is tried.
	Lost(server, next string, err error)
}

// eachLoss logs each stream that is lost.
type eachLoss struct{ log *slog.Logger }

// Began implements streamReport.
func (eachLoss) Began(string) {}

// Lost implements streamReport.
func (l eachLoss) Lost(server, next string, err error) {
	if next == server { // there is no other
		l.log.Warn("stream lost, trying again", "node", server, "err", err)
		return
	}
	l.log.Warn("stream lost, following the next server", "node", server, "next", next, "err", err)
}

// firstLoss logs the first stream that is lost, and the next that begins. It may be used concurrently, for streams that are
// lost together: a page asks for streams as long as it is open.
type firstLoss struct {
	log *slog.Logger

	mu   sync.Mutex
	lost bool
}

// Began implements streamReport.
func (l *firstLoss) Began(server string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		l.lost = false
		l.log.Info("clients are followed again", "node", server)
	}
}

// Lost implements streamReport.
func (l *firstLoss) Lost(_, _ string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lost {
		l.lost = true
		l.log.Warn("clients cannot be followed, trying each server until one replies", "err", err)
	}
}
