//go:build unix

package node

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestTrafficLogStuck: a disk that does not answer costs lines, and neither write nor stop
// waits for it. A pipe without a reader stands in for the disk.
func TestTrafficLogStuck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "A.log")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Skip("no named pipes here:", err)
	}
	log := newTrafficLog(dir, "A", discard)
	stop := log.start()
	line := make([]byte, 64<<10)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for log.linesLost() < 10 {
			log.write("client in", "127.0.0.1:1", line)
		}
	}()
	select {
	case <-written:
	case <-time.After(time.Minute):
		t.Fatal("write waits for the disk")
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("stop waits for the disk")
	}
	r, err := os.Open(file) // so that the goroutine ends
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	io.Copy(io.Discard, r)
}
