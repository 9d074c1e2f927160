package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestTrafficLogRotation: lines of several writers fill several files. None is lost or
// cut, and they are in the order of their times.
func TestTrafficLogRotation(t *testing.T) {
	const writers, lines = 4, 15_000 // of a kilobyte
	dir := t.TempDir()
	log := newTrafficLog(dir, "A", discard)
	if log.file.MaxSize != 100 || log.file.MaxBackups != 5 {
		t.Errorf("rotation at %d MB, %d files kept, want 100 and 5", log.file.MaxSize, log.file.MaxBackups)
	}
	log.file.MaxSize, log.file.MaxBackups = 15, 100 // small, but not rotated twice in a millisecond: files are named by it
	padding := strings.Repeat("x", 1000)
	stop := log.start()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range lines {
				log.write("client in", "127.0.0.1:1", fmt.Appendf(nil, "writer %d line %d %s", w, i, padding))
			}
		})
	}
	all.Wait()
	stop()
	files, err := filepath.Glob(filepath.Join(dir, "A*.log"))
	if err != nil || len(files) < 4 {
		t.Fatalf("files %q, %v, want several", files, err)
	}
	next, found := [writers]int{}, 0
	for _, file := range files { // A-<time>.log, the oldest first, and A.log
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		for scan := bufio.NewScanner(f); scan.Scan(); found++ {
			var w, i int
			_, line, _ := strings.Cut(scan.Text(), " A client in 127.0.0.1:1 ")
			if _, err := fmt.Sscanf(line, "writer %d line %d", &w, &i); err != nil || i != next[w] {
				t.Fatalf("%s: %q after line %d of writer %d: %v", file, scan.Text(), next[w]-1, w, err)
			}
			next[w]++
			if at := scan.Text()[:len(trafficTime)]; at < last {
				t.Fatalf("%s: %s after %s", file, at, last)
			} else {
				last = at
			}
		}
		f.Close()
	}
	if found != writers*lines {
		t.Errorf("%d lines in the files, want %d", found, writers*lines)
	}
}

func TestNeedsQuotes(t *testing.T) {
	for line, want := range map[string]bool{
		"AT A +0.000000000 kiwi +1+1 1": false,
		"na\u00efve \xff bytes":         false,
		"a \"quoted\" word":             false,
		"\"quoted\"":                    true, // it would look as if we had quoted it
		"tab\there":                     true,
		"nul\x00":                       true,
		"del\x7f":                       true,
		"\r":                            true,
	} {
		if got := needsQuotes([]byte(line)); got != want {
			t.Errorf("needsQuotes(%q) = %v, want %v", line, got, want)
		}
	}
}
