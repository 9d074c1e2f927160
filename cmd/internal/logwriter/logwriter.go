// Package logwriter keeps a log from stopping the program that writes it: the lines wait in
// bounded memory for a pipe that nobody reads or a slow disk, and are dropped and counted
// when the memory is full or the write fails.
package logwriter

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"
)

const (
	queueSize = 1 << 20 // bytes that may wait
	// retryPause is how long a destination that is in non-blocking mode and full is left
	// alone. The other end of a terminal or a pipe may set that mode.
	retryPause = 10 * time.Millisecond
)

// Writer is a log's io.Writer. Each call of Write is one line or more, which are written
// whole, in order and soon, by a goroutine that exists while there is something to write.
// Several goroutines may use it at the same time.
type Writer struct {
	to   io.Writer
	note func(lines uint64) []byte

	mu      sync.Mutex
	queue   []byte
	full    bool          // lines are dropped until the queue has been taken
	dropped uint64        // lines, in all
	pending uint64        // dropped lines that no note has reported yet
	idle    chan struct{} // closed when the goroutine ends; nil while there is none
	holds   int           // while it is not 0, there is no goroutine, except to finish a write

	// Of the goroutine:
	failed bool // the last write failed
	cut    bool // a write failed within a line, whose end is missing at the destination
}

// New makes a Writer. note makes the line that says how many lines are missing; it is
// written where they are missing, once the destination accepts something again.
func New(to io.Writer, note func(lines uint64) []byte) *Writer {
	return &Writer{to: to, note: note}
}

// Write takes lines and never waits or fails. If there is no room for them, they are
// dropped.
func (w *Writer) Write(lines []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full || len(w.queue)+len(lines) > queueSize {
		w.full = true
		w.dropLocked(lines)
	} else {
		w.queue = append(w.queue, lines...)
	}
	w.startLocked()
	return len(lines), nil
}

// startLocked starts the goroutine, unless there is one or lines must wait.
func (w *Writer) startLocked() {
	if w.idle == nil && w.holds == 0 {
		w.idle = make(chan struct{})
		go w.run()
	}
}

// Hold makes lines wait, in the bounded memory, until release is called. So something else
// can write to the same place without lines in between. Hold returns when no line is being
// written, or after limit.
func (w *Writer) Hold(limit time.Duration) (release func()) {
	w.mu.Lock()
	w.holds++
	w.mu.Unlock()
	w.Flush(limit)
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.holds--; len(w.queue) > 0 || w.pending > 0 {
			w.startLocked()
		}
	})
}

// Dropped is the number of lines that were lost so far.
func (w *Writer) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Flush waits until everything is written, lost or held, for limit at most.
func (w *Writer) Flush(limit time.Duration) {
	w.mu.Lock()
	idle := w.idle
	w.mu.Unlock()
	if idle == nil {
		return
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-idle:
	case <-timeout.C:
	}
}

// run writes the queue until it is empty.
func (w *Writer) run() {
	var lines []byte
	for {
		var missing uint64
		var ok bool
		if lines, missing, ok = w.take(lines); !ok {
			return
		}
		// Lines are missing before these ones if a write failed, otherwise behind them: the
		// queue was full.
		if w.failed {
			if w.writeNote(missing) {
				w.write(lines)
			} else {
				w.drop(lines)
			}
			continue
		}
		if w.write(lines) && missing > 0 {
			w.writeNote(missing)
		}
	}
}

// take returns the queue, and how many dropped lines no note has reported yet. The
// goroutine must end if there is nothing to write. spare is memory for the next queue.
func (w *Writer) take(spare []byte) (lines []byte, missing uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds > 0 {
		close(w.idle)
		w.idle = nil
		return nil, 0, false
	}
	lines = w.queue
	w.queue, w.full = spare[:0], false
	if len(lines) == 0 && (w.pending == 0 || w.failed) {
		close(w.idle)
		w.idle = nil
		return nil, 0, false
	}
	return lines, w.pending, true
}

// writeNote says that lines are missing.
func (w *Writer) writeNote(lines uint64) bool {
	if w.put(w.note(lines)) > 0 {
		return false
	}
	w.mu.Lock()
	w.pending -= lines
	w.mu.Unlock()
	return true
}

// write writes lines, and drops those that it cannot write.
func (w *Writer) write(lines []byte) bool {
	left := w.put(lines)
	w.drop(lines[len(lines)-left:])
	return left == 0
}

// put writes text, behind a line feed if the line before was cut off. It returns how many
// bytes of text it could not write.
func (w *Writer) put(text []byte) (left int) {
	if w.cut && len(text) > 0 {
		if _, w.failed = w.writeAll([]byte{'\n'}); w.failed {
			return len(text)
		}
		w.cut = false
	}
	left, w.failed = w.writeAll(text)
	if done := text[:len(text)-left]; w.failed && len(done) > 0 {
		w.cut = done[len(done)-1] != '\n'
	}
	return left
}

// writeAll writes text, as often as that takes.
func (w *Writer) writeAll(text []byte) (left int, failed bool) {
	for len(text) > 0 {
		n, err := w.to.Write(text)
		text = text[n:]
		switch {
		case errors.Is(err, syscall.EAGAIN):
			time.Sleep(retryPause)
		case err != nil:
			return len(text), true
		}
	}
	return 0, false
}

// drop counts lines as lost.
func (w *Writer) drop(lines []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropLocked(lines)
}

func (w *Writer) dropLocked(lines []byte) {
	n := uint64(bytes.Count(lines, []byte{'\n'}))
	w.dropped += n
	w.pending += n
}
