package node

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
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

// trafficLines returns the lines of a traffic log without their times.
func trafficLines(t *testing.T, file string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSuffix(line[min(len(trafficTime)+1, len(line)):], "\n"))
	}
	return lines
}

// writeNow writes a line and returns when it is in the file or lost.
func (t *trafficLog) writeNow(line string) {
	t.write(line, "", nil)
	t.idle()
}

// idle returns when nothing is left to do.
func (t *trafficLog) idle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.buf) > 0 || t.due || t.reopen || t.busy {
		t.change.Wait()
	}
}

// TestTrafficLogMoved: a file that was moved or removed, also with its directory, is
// created anew, at the next check or when told, also without a line to write. Lines go on in
// the old one until then.
func TestTrafficLogMoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	file := filepath.Join(dir, "A.log")
	log := newTrafficLog(dir, "A", discard)
	log.check = time.Hour // the test decides when
	check := func() { log.locked(func() { log.due = true }) }
	n := &Node{traffic: log}
	stop := log.start()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(file string, want ...string) {
		t.Helper()
		if got := trafficLines(t, file); strings.Join(got, ", ") != strings.Join(want, ", ") {
			t.Errorf("%s has %q, want %q", file, got, want)
		}
	}
	log.writeNow("one")
	log.writeNow("two") // in its place: nothing happens
	must(os.Rename(file, file+".1"))
	check()
	log.writeNow("three")
	expect(file+".1", "A one", "A two")
	expect(file, "A three")

	must(os.Rename(file, file+".2"))
	must(os.WriteFile(file, nil, 0o600)) // as logrotate does
	check()
	log.writeNow("three b")
	expect(file+".2", "A three")
	expect(file, "A three b")

	must(os.RemoveAll(dir))
	check()
	log.idle()
	expect(file)
	log.writeNow("four")
	expect(file, "A four")
	if info, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v, want mode 0700", info.Mode(), err)
	}

	must(os.Rename(file, file+".2"))
	log.writeNow("five")
	n.ReopenTrafficLog()
	log.idle()
	expect(file)
	log.writeNow("six")
	expect(file+".2", "A four", "A five")
	expect(file, "A six")
	stop()
	if log.linesLost() != 0 {
		t.Errorf("%d lines lost", log.linesLost())
	}
}

// TestTrafficLogChecked: a server that writes nothing checks its file by itself.
func TestTrafficLogChecked(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "A.log")
	log := newTrafficLog(dir, "A", discard)
	if log.check != time.Second {
		t.Errorf("the file is checked every %v, want 1s", log.check)
	}
	log.check = time.Millisecond
	stop := log.start()
	defer stop()
	log.writeNow("one")
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		} else if time.Since(began) > 10*time.Second {
			t.Fatal(err)
		}
	}
}

// TestTrafficLogUnwritable: lines that cannot be written are counted, and the trouble is
// said once. The log recovers by itself, also without a line to write.
func TestTrafficLogUnwritable(t *testing.T) {
	for _, lines := range []int{0, 5} {
		dir := filepath.Join(t.TempDir(), "logs")
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the directory should be
			t.Fatal(err)
		}
		var said logBuffer
		await := func(text string) {
			t.Helper()
			for began := time.Now(); !strings.Contains(said.String(), text); time.Sleep(time.Millisecond) {
				if time.Since(began) > 10*time.Second {
					t.Fatalf("said\n%swant %q", said.String(), text)
				}
			}
		}
		log := newTrafficLog(dir, "A", slog.New(slog.NewTextHandler(&said, nil)))
		log.check = 5 * time.Millisecond
		stop := log.start()
		for range lines {
			log.writeNow("lost")
		}
		await("lines are lost")
		if got := log.linesLost(); got != uint64(lines) || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("%d lines lost, want %d; said\n%swant one line", got, lines, said.String())
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		await(fmt.Sprintf("msg=\"traffic log is written again\" file=%s lines_lost=%d\n", filepath.Join(dir, "A.log"), lines))
		log.writeNow("kept")
		log.writeNow("kept")
		stop()
		if got := trafficLines(t, filepath.Join(dir, "A.log")); len(got) != 2 || strings.Count(said.String(), "\n") != 2 || log.linesLost() != uint64(lines) {
			t.Errorf("the log has %q, %d lines lost, said\n%swant two lines, %d and two lines", got, log.linesLost(), said.String(), lines)
		}
	}
}

// TestTrafficLogLine: a line is quoted if it is not printable.
func TestTrafficLogLine(t *testing.T) {
	dir := t.TempDir()
	log := newTrafficLog(dir, "A", discard)
	stop := log.start()
	for _, line := range []string{"plain", "c1 \x9b \u009b", "bidi \u202e", "break \u2028\r"} {
		log.write("client in", "127.0.0.1:1", []byte(line))
	}
	stop()
	want := []string{"plain", `"c1 \x9b \u009b"`, `"bidi \u202e"`, `"break \u2028\r"`}
	for i, got := range trafficLines(t, filepath.Join(dir, "A.log")) {
		if got != "A client in 127.0.0.1:1 "+want[i] {
			t.Errorf("line %q, want %s at its end", got, want[i])
		}
	}
}
