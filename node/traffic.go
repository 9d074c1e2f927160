package node

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"herd/bus/printable"
)

const (
	trafficFileMB = 100 // size at which the file is rotated
	trafficFiles  = 5   // rotated files that are kept
	// trafficBehind is the number of bytes that may wait for the disk. When there are
	// more, write blocks, unless the disk does not answer.
	trafficBehind = 4 << 20
	// trafficPatience is how long a write to the disk may take. While one takes longer,
	// lines for which there is no room are dropped.
	trafficPatience = time.Second
	// trafficCheck is how often the goroutine checks that the file is still in its place.
	// It is also the least time between two logs of the same trouble.
	trafficCheck = time.Second
	trafficTime  = "2006-01-02T15:04:05.000000Z"
)

// trafficLog logs all input and output of one server to a file. Each event is one line:
// time, server, what happened, with whom, and the line that was received or sent, quoted
// if it has anything that is not printable. write only appends to a buffer. One goroutine
// writes the buffer to the file, so that there is not one system call per line.
//
// A file that was moved or removed is created anew, also if there is nothing to write. Lines that the disk does not take are
// lost and counted, and nothing else happens.
type trafficLog struct {
	server string
	file   *lumberjack.Logger
	check  time.Duration // trafficCheck
	log    *slog.Logger

	mu     sync.Mutex
	change sync.Cond // signals that one of the following fields changed
	buf    []byte    // whole lines, not yet in the file
	ended  bool      // carry ends when buf is in the file
	busy   bool      // carry writes to the file
	stuck  bool      // and the disk does not answer: write drops instead of waiting
	due    bool      // carry checks that the file is in its place
	reopen bool      // carry opens the file anew
	lost   uint64    // lines
}

func newTrafficLog(dir, server string, log *slog.Logger) *trafficLog {
	t := &trafficLog{
		server: server,
		file: &lumberjack.Logger{
			Filename: filepath.Join(dir, server+".log"), MaxSize: trafficFileMB, MaxBackups: trafficFiles,
		},
		check: trafficCheck,
		log:   log,
	}
	t.change.L = &t.mu
	return t
}

// start starts the goroutine. stop ends it and returns when everything is in the file, or
// the disk does not answer.
func (t *trafficLog) start() (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.carry()
	}()
	go func() {
		ticker := time.NewTicker(t.check)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				t.locked(func() { t.due = true })
			case <-done:
				return
			}
		}
	}()
	return func() {
		t.locked(func() { t.ended = true })
		select {
		case <-done:
		case <-time.After(2 * trafficPatience):
			t.log.Error("traffic log not written to its end: the disk does not answer", "file", t.file.Filename)
		}
	}
}

// locked changes fields and signals that.
func (t *trafficLog) locked(change func()) {
	t.mu.Lock()
	change()
	t.mu.Unlock()
	t.change.Broadcast()
}

// carry writes the buffer to the file, and checks the file, until stop.
func (t *trafficLog) carry() {
	var spare []byte
	out := trafficFile{trafficLog: t}
	for {
		t.mu.Lock()
		for len(t.buf) == 0 && !t.due && !t.reopen && !t.ended {
			t.change.Wait()
		}
		lines := t.buf
		t.buf = spare[:0]
		ended := t.ended
		t.busy = true
		due, reopen := t.due, t.reopen
		t.due, t.reopen = false, false
		t.mu.Unlock()
		t.change.Broadcast()

		overdue := time.AfterFunc(trafficPatience, t.noteStuck)
		if reopen {
			out.opened = nil
		}
		if due || out.opened == nil {
			out.checkPlace()
		}
		out.write(lines)
		overdue.Stop()
		t.locked(func() { t.busy, t.stuck = false, false })
		if ended {
			if err := t.file.Close(); err != nil {
				t.log.Error("traffic log not closed", "file", t.file.Filename, "err", err)
			}
			return
		}
		spare = lines
	}
}

// noteStuck lets write drop lines, if carry still waits for the disk.
func (t *trafficLog) noteStuck() {
	t.locked(func() { t.stuck = t.busy })
	t.log.Error("traffic log waits for the disk: lines are lost when its memory is full", "file", t.file.Filename)
}

// trafficFile is what carry knows of the file.
type trafficFile struct {
	*trafficLog
	opened fs.FileInfo // of the file that is open; nil if it must be opened anew
	cut    bool        // the end of its last line is missing

	failed time.Time // the last failure that was not followed by a success; zero: none
	said   uint64    // lost lines when there was last no trouble
}

// write writes lines, perhaps none, and counts those that it cannot write. It opens the file
// if that is not open.
func (f *trafficFile) write(lines []byte) {
	n, err := 0, error(nil)
	if f.cut && len(lines) > 0 {
		_, err = f.file.Write([]byte{'\n'})
	}
	if err == nil {
		f.cut = false
		n, err = f.file.Write(lines)
	}
	if n > 0 {
		f.cut = lines[n-1] != '\n'
	}
	if f.opened == nil {
		f.opened, _ = os.Stat(f.file.Filename) // on an error, the next write tries again
	}
	if err != nil {
		f.file.Close() // so that the next write opens it anew
		f.opened = nil
		f.locked(func() { f.lost += uint64(bytes.Count(lines[n:], []byte{'\n'})) })
	}
	f.report(time.Now(), err)
}

// checkPlace closes the file if it is no longer in its place, so that it is opened anew.
func (f *trafficFile) checkPlace() {
	if f.opened != nil {
		if info, err := os.Stat(f.file.Filename); err == nil && os.SameFile(info, f.opened) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		f.opened = nil
	}
	f.file.Close()
	os.MkdirAll(filepath.Dir(f.file.Filename), 0o700) // its error is that of the write, too
}

// report logs that writing began to fail, or works again.
func (f *trafficFile) report(now time.Time, err error) {
	lost := f.linesLost()
	switch {
	case err != nil && f.failed.IsZero():
		f.log.Error("traffic log not written: lines are lost", "file", f.file.Filename, "err", err)
		f.failed = now
	case err != nil:
		f.failed = now
	case (lost > f.said || !f.failed.IsZero()) && now.Sub(f.failed) >= f.check:
		f.log.Warn("traffic log is written again", "file", f.file.Filename, "lines_lost", lost-f.said)
		f.failed, f.said = time.Time{}, lost
	}
}

// linesLost is how many lines were lost.
func (t *trafficLog) linesLost() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// write logs one event. line may be empty.
func (t *trafficLog) write(what, who string, line []byte) {
	t.mu.Lock()
	for len(t.buf) > trafficBehind && !t.ended && !t.stuck {
		t.change.Wait()
	}
	if len(t.buf) > trafficBehind {
		t.lost++
		t.mu.Unlock()
		return
	}
	b := time.Now().UTC().AppendFormat(t.buf, trafficTime) // with the lock held, so that the file is in the order of time
	for _, field := range []string{t.server, what, who} {
		if field != "" {
			b = append(append(b, ' '), field...)
		}
	}
	if len(line) > 0 {
		b = printable.AppendValue(append(b, ' '), line)
	}
	t.buf = append(b, '\n')
	t.mu.Unlock()
	t.change.Broadcast()
}

// ReopenTrafficLog makes the server open its traffic log anew, at once: its file was moved.
// It does not wait for that. A server without a traffic log ignores it.
func (n *Node) ReopenTrafficLog() {
	if n.traffic != nil {
		n.traffic.locked(func() { n.traffic.reopen = true })
	}
}
