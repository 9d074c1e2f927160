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
	trafficFileMB = 100 // a file's size, before it is rotated
	trafficFiles  = 5   // rotated ones that are kept
	// trafficBehind is how many bytes may wait to be written to the file, before
	// those who log wait: nothing is dropped.
	trafficBehind = 4 << 20
	trafficTime   = "2006-01-02T15:04:05.000000Z"
)

// trafficLog is the file of all input and output of one server: one line an
// event with time, server, what, who, and the line that came or went. Lines are
// in the file a moment after they are written here: one goroutine carries over
// what has gathered, so that the file costs no write a line.
type trafficLog struct {
	server string
	file   *lumberjack.Logger
	log    *slog.Logger

	mu     sync.Mutex
	change sync.Cond // of what follows
	buf    []byte    // whole lines, not yet in the file
	ended  bool
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

// start starts carrying over to the file; stop ends it, once all is there.
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
		if err != nil && !failing { // said once: a server with a full disk goes on serving
			t.log.Error("traffic log: lines lost", "file", t.file.Filename, "err", err)
		}
		failing = err != nil
		if ended {
			if err := t.file.Close(); err != nil {
				t.log.Error("traffic log", "file", t.file.Filename, "err", err)
			}
			return
		}
		spare = lines
	}
}

// write logs one event; line may be empty.
func (t *trafficLog) write(what, who string, line []byte) {
	t.mu.Lock()
	for len(t.buf) > trafficBehind && !t.ended {
		t.change.Wait()
	}
	b := time.Now().UTC().AppendFormat(t.buf, trafficTime) // here, so that lines are in the order of their times
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

// needsQuotes tells whether a line must be quoted: where it holds control bytes,
// or could be taken for quoted.
func needsQuotes(line []byte) bool {
	return line[0] == '"' || bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f })
}
