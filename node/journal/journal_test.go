package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// open opens a journal and returns its lines and what Open reports as damage.
func open(t *testing.T, dir string) (j *Journal, lines, damage []string) {
	t.Helper()
	j = New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	damage, err := j.Open(func(frame []byte) {
		for line := range strings.Lines(string(frame)) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	})
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
	for range 2 {
		j, lines, damage = open(t, dir)
		if !slices.Equal(lines, want) || len(damage) > 0 {
			t.Fatalf("%d lines, damage %q, want %d and none", len(lines), damage, len(want))
		}
		j.Close()
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v, want mode 0700", info.Mode(), err)
	}
}

func TestOpenInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}).Open(nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Open = %v, want ErrInUse", err)
	}
}

// TestCompact: the frames of a compaction replace everything before it. Frames that are
// appended later are kept.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	old, _ := frames(0, 300)
	if err := j.Append(old); err != nil {
		t.Fatal(err)
	}
	snapshot, kept := frames(1000, 1100)
	parts := [][][]byte{snapshot[:60], snapshot[60:], nil}
	if err := j.Compact(func() ([][]byte, error) { part := parts[0]; parts = parts[1:]; return part, nil }); err != nil {
		t.Fatal(err)
	}
	later, laterLines := frames(2000, 2010)
	if err := j.Append(later); err != nil {
		t.Fatal(err)
	}
	j.Close()
	_, lines, damage := open(t, dir)
	if want := slices.Concat(kept, laterLines); !slices.Equal(lines, want) || len(damage) > 0 {
		t.Errorf("after compaction %d lines, damage %q, want %d; the first %q", len(lines), damage, len(want), lines[:min(2, len(lines))])
	}
}

// TestAppendRestartsEngine: after the storage engine has failed, the next Append restarts
// it. No acknowledged frame is lost.
func TestAppendRestartsEngine(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	first, want := frames(0, 10)
	if err := j.Append(first); err != nil {
		t.Fatal(err)
	}
	j.nats.Shutdown()
	second, more := frames(10, 20)
	if err := j.Append(second); err == nil {
		t.Fatal("Append to an engine that was shut down: no error")
	}
	if err := j.Append(second); err != nil {
		t.Fatalf("the next Append: %v", err)
	}
	j.Close()
	_, lines, damage := open(t, dir)
	if want := append(want, more...); !slices.Equal(lines, want) || len(damage) > 0 {
		t.Errorf("%d lines, damage %q, want %d and none", len(lines), damage, len(want))
	}
}

func TestNeedsCompaction(t *testing.T) {
	j := New(Config{})
	for _, tt := range []struct {
		size, mapSize int64
		want          bool
	}{{1 << 20, 0, false}, {compactAbove + 1, 0, true}, {compactAbove + 1, compactAbove, false}, {5 << 30, 1 << 30, true}} {
		j.size = tt.size
		if got := j.NeedsCompaction(tt.mapSize); got != tt.want {
			t.Errorf("journal of %d bytes, map of %d: NeedsCompaction = %v, want %v", tt.size, tt.mapSize, got, tt.want)
		}
	}
}

// TestDamage: a journal whose files are damaged can be opened. It reports the damage and
// gives the lines that can be read.
func TestDamage(t *testing.T) {
	damages := map[string]func(path string, size int64) error{
		"truncated in the middle": func(path string, size int64) error { return os.Truncate(path, size/2) },
		"truncated to nothing":    func(path string, size int64) error { return os.Truncate(path, 0) },
		"overwritten in the middle": func(path string, size int64) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte(strings.Repeat("xxxx", 100)), size/2)
			return err
		},
	}
	for what, damageFile := range damages {
		for _, c := range []struct {
			which  string
			killed bool
		}{{"*.blk", true}, {"*.blk", false}, {"meta.*", true}, {"index.db", false}} {
			which, killed := c.which, c.killed
			t.Run(fmt.Sprint(what, " ", which, " killed ", killed), func(t *testing.T) {
				dir := t.TempDir()
				j, _, _ := open(t, dir)
				all, want := frames(0, 2000)
				if err := j.Append(all); err != nil {
					t.Fatal(err)
				}
				j.Close()
				damaged := 0
				walkErr := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					if ok, _ := filepath.Match(which, d.Name()); ok {
						info, err := d.Info()
						if err != nil {
							return err
						}
						damaged++
						return damageFile(path, info.Size())
					}
					return err
				})
				if walkErr != nil {
					t.Fatal(walkErr)
				}
				if killed { // after a kill, the engine's own index of the blocks is old or missing
					if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
						if d.Name() == "index.db" {
							return os.Remove(path)
						}
						return err
					}); err != nil {
						t.Fatal(err)
					}
				}
				if damaged == 0 {
					t.Fatal("no file to damage")
				}
				j, lines, damage := open(t, dir)
				t.Logf("%d of %d lines; %q", len(lines), len(want), damage)
				if len(lines) == len(want) && len(damage) > 0 {
					t.Errorf("all lines were read, but damage is reported: %q", damage)
				}
				if len(lines) < len(want) && len(damage) == 0 {
					t.Errorf("%d of %d lines were read, but no damage is reported", len(lines), len(want))
				}
				if what == "truncated in the middle" && which == "*.blk" && len(lines) < len(want)/3 {
					t.Errorf("only %d of %d lines were read of a journal truncated in the middle", len(lines), len(want))
				}
				if err := j.Append(all[:1]); err != nil {
					t.Errorf("Append after damage: %v", err)
				}
			})
		}
	}
}
