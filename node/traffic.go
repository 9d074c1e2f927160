package node

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	trafficFileMB = 100 // size at which the file is rotated
	trafficFiles  = 5   // rotated files that are kept
	// trafficBehind is the number of bytes that may wait for the disk. When there are
	// more, write blocks: nothing is dropped.
	trafficBehind = 4 << 20
	trafficTime   = "2006-01-02T15:04:05.000000Z"
)

// trafficLog logs all input and output of one server to a file. Each event is one line:
// time, server, what happened, with whom, and the line that was received or sent. write
// only appends to a buffer. One goroutine writes the buffer to the file, so that there is
// not one system call per line.
type trafficLog struct {
	server string
	file   *lumberjack.Logger
	log    *slog.Logger

	mu     sync.Mutex
	change sync.Cond // signals that one of the following fields changed
	buf    []byte    // whole lines, not yet in the file
	ended  bool      // carry ends when buf is in the file
}

func newTrafficLog(dir, server string, log *slog.Logger) *trafficLog {
	t := &trafficLog{
		server: server,
		file: &lumberjack.Logger{
			Filename: filepath.Join(dir, server+".log"), MaxSize: trafficFileMB, MaxBackups: trafficFiles,
		},
		log: log,
	}
	t.change.L = &t.mu
	return t
}

// start starts the goroutine. stop ends it and returns when everything is in the file.
func (t *trafficLog) start() (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.carry()
	}()
	return func() {
		t.mu.Lock()
		t.ended = true
		t.mu.Unlock()
		t.change.Broadcast()
		<-done
	}
}

// carry writes the buffer to the file, until stop.
func (t *trafficLog) carry() {
	var spare []byte
	failing := false
	for {
		t.mu.Lock()
		for len(t.buf) == 0 && !t.ended {
			t.change.Wait()
		}
		lines := t.buf
		t.buf = spare[:0]
		ended := t.ended
		t.mu.Unlock()
		t.change.Broadcast()

		_, err := t.file.Write(lines)
		if err != nil && !failing { // logged once: a server goes on without the log when the disk is full
			t.log.Error("traffic log not written: lines are lost", "file", t.file.Filename, "err", err)
		}
		failing = err != nil
		if ended {
			if err := t.file.Close(); err != nil {
				t.log.Error("traffic log not closed", "file", t.file.Filename, "err", err)
			}
			return
		}
		spare = lines
	}
}

// write logs one event. line may be empty.
func (t *trafficLog) write(what, who string, line []byte) {
	t.mu.Lock()
	for len(t.buf) > trafficBehind && !t.ended {
		t.change.Wait()
	}
	b := time.Now().UTC().AppendFormat(t.buf, trafficTime) // with the lock held, so that the file is in the order of time
	for _, field := range []string{t.server, what, who} {
		if field != "" {
			b = append(append(b, ' '), field...)
		}
	}
	if len(line) > 0 {
		b = append(b, ' ')
		if needsQuotes(line) {
			b = strconv.AppendQuote(b, string(line))
		} else {
			b = append(b, line...)
		}
	}
	t.buf = append(b, '\n')
	t.mu.Unlock()
	t.change.Broadcast()
}

// needsQuotes reports whether a line must be quoted: it contains control bytes, or looks
// as if it were quoted.
func needsQuotes(line []byte) bool {
	return line[0] == '"' || bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f })
}
