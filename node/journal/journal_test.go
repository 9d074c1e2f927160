package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newJournal(dir string) *Journal {
	return New(Config{Dir: dir, Prefix: "herd", Server: "A", Log: slog.New(slog.DiscardHandler)})
}

// replay opens j and returns its lines and what Open reports as damage.
func replay(j *Journal) (lines, damage []string, err error) {
	damage, err = j.Open(func(frame []byte) {
		for line := range strings.Lines(string(frame)) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	})
	return lines, damage, err
}

// open opens a journal and returns its lines and what Open reports as damage.
func open(t *testing.T, dir string) (j *Journal, lines, damage []string) {
	t.Helper()
	j = newJournal(dir)
	lines, damage, err := replay(j)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, lines, damage
}

// frames makes frames of two lines each. The numbers from from to to-1 make them distinct.
func frames(from, to int) (all [][]byte, lines []string) {
	for i := from; i < to; i++ {
		a, b := fmt.Sprintf("line %d a", i), fmt.Sprintf("line %d \x00\xff", i)
		all = append(all, []byte(a+"\n"+b+"\n"))
		lines = append(lines, a, b)
	}
	return all, lines
}

// parts returns a function for Compact that returns each part once.
func parts(all ...[][]byte) func() [][]byte {
	return func() (part [][]byte) {
		if len(all) > 0 {
			part, all = all[0], all[1:]
		}
		return part
	}
}

// size is the number of bytes of all files in a directory.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	j, lines, damage := open(t, dir)
	if len(lines) > 0 || len(damage) > 0 {
		t.Fatalf("a new journal has lines %q, damage %q, want none", lines, damage)
	}
	first, want := frames(0, 500)
	if err := j.Append(first); err != nil {
		t.Fatal(err)
	}
	j.Close()
	for range 3 {
		j, lines, damage = open(t, dir)
		if !slices.Equal(lines, want) || len(damage) > 0 || j.NeedsCompaction(0) {
			t.Fatalf("%d lines, damage %q, want %d and none", len(lines), damage, len(want))
		}
		j.Close()
	}
	if info, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v, want mode 0700", info.Mode(), err)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "segment-*")); err != nil || len(found) != 2 {
		t.Errorf("segments %q, want one with frames and one without: empty ones must not pile up", found)
	}
	if err := j.Append(first); !errors.Is(err, errClosed) {
		t.Errorf("Append after Close = %v, want %v", err, errClosed)
	}
}

func TestOpenInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := newJournal(dir).Open(nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Open = %v, want ErrInUse", err)
	}
}

// TestCompact: the frames of a compaction replace everything before it. Frames that are
// appended meanwhile and later are kept.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	old, _ := frames(0, 300)
	if err := j.Append(old); err != nil {
		t.Fatal(err)
	}
	snapshot, kept := frames(1000, 1100)
	meanwhile, meanwhileLines := frames(2000, 2010)
	later, laterLines := frames(3000, 3010)
	next := parts(snapshot[:60], snapshot[60:])
	if err := j.Compact(t.Context(), func() [][]byte {
		if err := j.Append(meanwhile[:2]); err != nil {
			t.Error(err)
		}
		meanwhile = meanwhile[2:]
		return next()
	}); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(later); err != nil {
		t.Fatal(err)
	}
	j.Close()
	_, lines, damage := open(t, dir)
	if want := slices.Concat(kept, meanwhileLines[:12], laterLines); !slices.Equal(lines, want) || len(damage) > 0 {
		t.Errorf("after compaction %d lines, damage %q, want %d; the first %q", len(lines), damage, len(want), lines[:min(2, len(lines))])
	}
}

// TestCompactFails: after a compaction was cancelled, everything is as it was, and the room of the
// unfinished snapshot is free again.
func TestCompactFails(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	old, want := frames(0, 300)
	if err := j.Append(old); err != nil {
		t.Fatal(err)
	}
	before := size(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := j.Compact(ctx, func() [][]byte {
		if calls++; calls == 3 {
			cancel()
		}
		return old[:100]
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Compact = %v, want that it was cancelled", err)
	}
	if after := size(t, dir); after > before+200 {
		t.Errorf("%d bytes before and %d after a failed compaction", before, after)
	}
	more, moreLines := frames(300, 301)
	if err := j.Append(more); err != nil {
		t.Fatal(err)
	}
	j.Close()
	_, lines, damage := open(t, dir)
	if want := append(want, moreLines...); !slices.Equal(lines, want) || len(damage) > 0 {
		t.Errorf("%d lines, damage %q, want %d and none", len(lines), damage, len(want))
	}
}

func TestNeedsCompaction(t *testing.T) {
	for _, tt := range []struct {
		size, mapSize int64
		recent        bool // the last compaction began just now
		urgent, want  bool
	}{
		{limitBase, 0, false, false, false}, {limitBase + 1, 0, false, false, true}, {limitBase + 1, 1, false, false, false},
		{5 << 30, 1 << 30, false, false, true}, {0, 0, false, true, true},
		{limitBase + 1, 0, true, false, false}, {busyBase, 0, true, false, false}, {busyBase + 1, 0, true, false, true},
		{0, 0, true, true, true},
	} {
		j := New(Config{})
		if tt.recent {
			j.compacted = time.Now()
		}
		j.size, j.active.bytes, j.urgent = tt.size/2, tt.size-tt.size/2, tt.urgent
		if got := j.NeedsCompaction(tt.mapSize); got != tt.want {
			t.Errorf("journal of %d bytes, map of %d, recently compacted %v, urgent %v: NeedsCompaction = %v, want %v", tt.size, tt.mapSize, tt.recent, tt.urgent, got, tt.want)
		}
	}
}

// TestSize: a journal of few clients stays small, whatever is appended and however slow
// the compaction is: then appends wait for it.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	frame := [][]byte{bytes.Repeat([]byte("AT A +1.000000000 kiwi +1+1 100\n"), 1000)}
	most, compactions, stop := int64(0), 0, make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if j.NeedsCompaction(100) {
				compactions++
				next := parts(frame)
				if err := j.Compact(t.Context(), func() [][]byte {
					time.Sleep(50 * time.Millisecond) // more than the appends up to the limit take
					return next()
				}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for range 2000 {
		if err := j.Append(frame); err != nil {
			t.Fatal(err)
		}
		j.NeedsCompaction(100)
		j.mu.Lock()
		most = max(most, j.size+j.active.bytes)
		j.mu.Unlock()
	}
	close(stop)
	<-done
	if limit := int64(waitBase + waitTimes*100 + len(frame[0])*2); most > limit || compactions < 3 {
		t.Errorf("the journal had %d bytes after %d compactions, want %d at most after several", most, compactions, limit)
	}
	if got := size(t, dir); got > 9<<20 {
		t.Errorf("the directory has %d bytes", got)
	}
}

// TestSegments: a segment that has become large is followed by another. All of them are
// read.
func TestSegments(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	var want []string
	for i := range 5 {
		all, lines := frames(10*i, 10*i+10)
		if err := j.Append(all); err != nil {
			t.Fatal(err)
		}
		want = append(want, lines...)
		j.active.bytes += segmentSize // as if: a hole
	}
	for range 2 {
		if len(j.unlisted) > 0 != (j.run == 1) {
			t.Errorf("start %d: %d segments are not in the manifest", j.run, len(j.unlisted))
		}
		j.Close()
		var lines, damage []string
		if j, lines, damage = open(t, dir); !slices.Equal(lines, want) || len(damage) > 0 {
			t.Errorf("%d lines, damage %q, want %d and none", len(lines), damage, len(want))
		}
	}
}

// TestAppendWaits: an append that waits for a compaction goes on when none is needed any
// more, or when there is enough room because the map has grown.
func TestAppendWaits(t *testing.T) {
	const size = waitBase + 1
	for name, mapSize := range map[string]int64{"not needed": 1 << 30, "more room": (size - busyBase - 1) / busyTimes} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, _, _ := openQuick(t, t.TempDir())
				defer j.Close()
				j.size = size
				if !j.NeedsCompaction(0) {
					t.Fatal("NeedsCompaction = false")
				}
				done := make(chan error, 1)
				go func() {
					all, _ := frames(0, 1)
					done <- j.Append(all)
				}()
				synctest.Wait()
				if len(done) > 0 {
					t.Fatal("Append does not wait")
				}
				j.NeedsCompaction(mapSize)
				synctest.Wait()
				if len(done) == 0 {
					t.Error("Append waits")
					j.Compact(t.Context(), parts()) // so that the test ends
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOtherServer: the journal of another server, or of another herd, is refused and stays as
// it is. Without its manifest its records are used.
func TestOtherServer(t *testing.T) {
	dir := t.TempDir()
	j := New(Config{Dir: dir, Prefix: "other", Server: "Solo", Log: slog.New(slog.DiscardHandler)})
	if _, err := j.Open(nil); err != nil {
		t.Fatal(err)
	}
	all, want := frames(0, 10)
	if err := j.Append(all); err != nil {
		t.Fatal(err)
	}
	j.Close()
	content := func() string {
		t.Helper()
		var b strings.Builder
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(filepath.Join(dir, path))
			fmt.Fprintf(&b, "%s %q\n", path, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := content()
	for _, other := range []Config{{Prefix: "herd", Server: "A"}, {Prefix: "herd", Server: "Solo"}, {Prefix: "other", Server: "A"}} {
		other.Dir, other.Log = dir, slog.New(slog.DiscardHandler)
		_, err := New(other).Open(func([]byte) { t.Error("a record was taken") })
		want := fmt.Sprintf(`server "Solo" with prefix "other", not of server %q with prefix %q; the journal was left as it is: set HERD_PREFIX`, other.Server, other.Prefix)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open as %s of %s: %v, want %s", other.Server, other.Prefix, err, want)
		}
	}
	if after := content(); after != before {
		t.Errorf("the directory was\n%s\nand is\n%s", before, after)
	}
	if err := os.Rename(filepath.Join(dir, manifestName), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	j, lines, damage := open(t, dir)
	if !slices.Equal(lines, want) || len(damage) != 1 || !strings.Contains(damage[0], "the file manifest is missing") {
		t.Errorf("%d lines, damage %q, want %d lines", len(lines), damage, len(want))
	}
	j.Close()
	if _, _, damage = open(t, dir); len(damage) > 0 {
		t.Errorf("damage %q when it is opened again, want none", damage)
	}
}

// TestNewerFormat: a journal of a later version is refused, not taken for a damaged one.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	s := state{id: 1, run: 1, first: 1}
	text := bytes.Replace(s.append(nil), fmt.Appendf(nil, "journal %d\n", stateFormat), fmt.Appendf(nil, "journal %d\n", stateFormat+1), 1)
	body := text[:bytes.LastIndex(text, []byte("sum "))]
	text = fmt.Appendf(bytes.Clone(body), "sum %016x\n", sum(body))
	if err := os.WriteFile(filepath.Join(dir, manifestName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newJournal(dir).Open(nil); !errors.Is(err, errNewer) {
		t.Errorf("Open = %v, want %v", err, errNewer)
	}
}

// TestFirstFormat: a journal of format 1 is read.
func TestFirstFormat(t *testing.T) {
	s := state{id: 1, run: 7, first: 1, prefix: "herd", server: "A"}
	text := bytes.Replace(s.append(nil), fmt.Appendf(nil, "journal %d\n", stateFormat), []byte("journal 1\n"), 1)
	body := text[:bytes.LastIndex(text, []byte("sum "))]
	text = fmt.Appendf(bytes.Clone(body), "sum %016x\n", sum(body))
	if got, err := parseState(text); err != nil || got.run != s.run || got.server != s.server {
		t.Errorf("parseState = %+v, %v, want %+v", got, err, s)
	}
}

// TestSlowDisk: a disk that takes an hour for each operation delays, and causes no error.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := newJournal(dir)
		j.cfg.Sync = true
		j.disk = &faultyDisk{disk: osDisk{}, before: func(string) error { time.Sleep(time.Hour); return nil }}
		if _, err := j.Open(nil); err != nil {
			t.Fatal(err)
		}
		all, want := frames(0, 3)
		if err := j.Append(all); err != nil {
			t.Fatal(err)
		}
		if err := j.Compact(t.Context(), parts(all)); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = newJournal(dir)
		j.disk = &faultyDisk{disk: osDisk{}, before: func(string) error { time.Sleep(time.Hour); return nil }}
		if lines, damage, err := replay(j); !slices.Equal(lines, want) || len(damage) > 0 || err != nil {
			t.Errorf("%d lines, damage %q, %v, want %d and none", len(lines), damage, err, len(want))
		}
		j.Close()
	})
}
