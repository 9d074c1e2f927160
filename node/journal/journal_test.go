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

func open(t *testing.T, dir string) (*Journal, []string, []string) {
	t.Helper()
	j := New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	var lines []string
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

func frames(from, to int) (all [][]byte, lines []string) {
	for i := from; i < to; i++ {
		a, b := fmt.Sprintf("line %d a", i), fmt.Sprintf("line %d \x00\xff", i)
		all = append(all, []byte(a+"\n"+b+"\n"))
		lines = append(lines, a, b)
	}
	return all, lines
}

func TestKeepsWhatWasAppended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	j, lines, damage := open(t, dir)
	if len(lines) > 0 || len(damage) > 0 {
		t.Fatalf("a new journal holds %q, damage %q", lines, damage)
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

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := New(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}).Open(nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Open: %v, want ErrInUse", err)
	}
}

// TestCompact: what is written anew replaces what was there, and what is appended
// later is kept.
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

// TestFailedEngine: when the storage engine has failed, the next Append starts it
// anew, and nothing that was acknowledged is lost.
func TestFailedEngine(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := open(t, dir)
	first, want := frames(0, 10)
	if err := j.Append(first); err != nil {
		t.Fatal(err)
	}
	j.nats.Shutdown()
	second, more := frames(10, 20)
	if err := j.Append(second); err == nil {
		t.Fatal("Append to an engine that is gone: no error")
	}
	if err := j.Append(second); err != nil {
		t.Fatalf("the Append after: %v", err)
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
		size, of int64
		want     bool
	}{{1 << 20, 0, false}, {compactAbove + 1, 0, true}, {compactAbove + 1, compactAbove, false}, {5 << 30, 1 << 30, true}} {
		j.size = tt.size
		if got := j.NeedsCompaction(tt.of); got != tt.want {
			t.Errorf("a journal of %d for a map of %d: NeedsCompaction = %v", tt.size, tt.of, got)
		}
	}
}

// TestDamage: whatever was done to its files, a journal opens, says what was wrong
// and gives what can be read.
func TestDamage(t *testing.T) {
	damages := map[string]func(path string, size int64) error{
		"cut in the middle": func(path string, size int64) error { return os.Truncate(path, size/2) },
		"emptied":           func(path string, size int64) error { return os.Truncate(path, 0) },
		"overwritten in the middle": func(path string, size int64) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte(strings.Repeat("junk", 100)), size/2)
			return err
		},
	}
	for what, inflict := range damages {
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
				filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					if ok, _ := filepath.Match(which, d.Name()); ok {
						info, err := d.Info()
						if err != nil {
							return err
						}
						damaged++
						return inflict(path, info.Size())
					}
					return err
				})
				if killed { // then the engine's own index of the blocks is old or missing
					filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
						if d.Name() == "index.db" {
							return os.Remove(path)
						}
						return err
					})
				}
				if damaged == 0 {
					t.Fatal("no file to damage")
				}
				j, lines, damage := open(t, dir)
				t.Logf("%d of %d lines; %q", len(lines), len(want), damage)
				if len(lines) == len(want) && len(damage) > 0 {
					t.Errorf("all lines were read, and yet: %q", damage)
				}
				if len(lines) < len(want) && len(damage) == 0 {
					t.Errorf("%d of %d lines were read, and nothing is said to be damaged", len(lines), len(want))
				}
				if what == "cut in the middle" && which == "*.blk" && len(lines) < len(want)/3 {
					t.Errorf("only %d of %d lines were read of a journal cut in the middle", len(lines), len(want))
				}
				if err := j.Append(all[:1]); err != nil {
					t.Errorf("Append after damage: %v", err)
				}
			})
		}
	}
}
