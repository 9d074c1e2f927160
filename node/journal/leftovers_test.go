package journal

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestLeftovers: a compaction was killed before it removed what its snapshot replaces. If
// the snapshot is intact, the next start does that. If not, that is kept until the next
// compaction: a start that is killed before it loses nothing.
func TestLeftovers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(text []byte) []byte // of the snapshot; nil: it is removed
		intact bool
	}{
		{name: "intact", damage: func(text []byte) []byte { return text }, intact: true},
		{name: "truncated", damage: func(text []byte) []byte { return text[:len(text)/2] }},
		{name: "flipped", damage: func(text []byte) []byte { text[len(text)/2] ^= 1; return text }},
		{name: "empty", damage: func([]byte) []byte { return nil }},
		{name: "missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			want := written(t, dir)
			j, lines, _ := openQuick(t, dir)
			j.disk.(*faultyDisk).before = func(operation string) error {
				if strings.HasPrefix(operation, "remove segment") {
					return syscall.EIO
				}
				return nil
			}
			j.Compact(t.Context(), parts([][]byte{[]byte(strings.Join(lines, "\n") + "\n")}, nil))
			snapshot := j.path(j.older[0].number)
			j.Close()
			old := func() (names []string) {
				for _, name := range segmentNames(readTree(t, dir)) {
					if name < filepath.Base(snapshot) {
						names = append(names, name)
					}
				}
				return names
			}
			if len(old()) == 0 {
				t.Fatal("nothing is left over: this test shows nothing")
			}
			text, err := os.ReadFile(snapshot)
			if err != nil {
				t.Fatal(err)
			}
			if tt.damage == nil {
				err = os.Remove(snapshot)
			} else {
				err = os.WriteFile(snapshot, tt.damage(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			for start := range 3 {
				j, lines, damage := openQuick(t, dir)
				for _, line := range want {
					if !slices.Contains(lines, line) {
						t.Fatalf("start %d: %q is lost; damage %q", start, line, damage)
					}
				}
				if len(damage) == 0 != tt.intact {
					t.Errorf("start %d: damage %q", start, damage)
				}
				if tt.intact && len(old()) > 0 {
					t.Errorf("start %d: %q are left", start, old())
				}
				if start == 2 {
					if err := j.Compact(t.Context(), parts([][]byte{[]byte("the map\n")})); err != nil {
						t.Fatal(err)
					}
				}
				j.Close()
			}
			if len(old()) > 0 {
				t.Errorf("%q are left after a compaction", old())
			}
		})
	}
}

// TestSnapshotName: the name of a snapshot is on the disk before the manifest names it.
func TestSnapshotName(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := openQuick(t, dir)
	defer j.Close()
	var operations []string
	j.disk.(*faultyDisk).before = func(operation string) error {
		operations = append(operations, operation)
		return nil
	}
	if err := j.Compact(t.Context(), parts([][]byte{[]byte("the map\n")})); err != nil {
		t.Fatal(err)
	}
	renamed, listed := slices.Index(operations, "rename "+partialName), slices.Index(operations, "rename manifest.new")
	if renamed < 0 || listed < renamed || !slices.Contains(operations[renamed:listed], "sync "+filepath.Base(dir)) {
		t.Errorf("operations %q, want a sync of the directory between the two renames", operations)
	}
}

// TestRotateDuringCompaction: appends begin segments while a compaction creates its own
// and while it replaces the manifest. A replay has all lines that the snapshot does not replace, in their order. When a
// segment is missing, a start reports it.
func TestRotateDuringCompaction(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := openQuick(t, dir)
	appended := 0
	rotate := func() { // as after a write that failed
		j.broken = true
		all, _ := frames(appended, appended+1)
		if err := j.Append(all); err != nil {
			t.Error(err)
		}
		appended++
	}
	rotate()
	creating, replacing := 0, 0
	divided := fmt.Sprint("open ", fileName(j.next+1))
	j.disk.(*faultyDisk).before = func(operation string) error {
		switch operation {
		case divided:
			if creating++; creating == 1 {
				rotate()
			}
		case "open manifest.new":
			all, _ := frames(appended, appended+1) // into the compaction's own segment
			if err := j.Append(all); err != nil {
				t.Error(err)
			}
			appended++
		case "rename manifest.new":
			replacing++
			rotate()
		}
		return nil
	}
	if err := j.Compact(t.Context(), parts([][]byte{[]byte("the map\n")})); err != nil {
		t.Fatal(err)
	}
	if creating != 1 || replacing != 1 {
		t.Fatalf("%d and %d rotations: this test shows nothing", creating, replacing)
	}
	rotate()
	rotate()
	j.Close()
	files := readTree(t, dir)
	j, lines, _ := openQuick(t, dir)
	j.Close()
	if _, want := frames(2, appended); !slices.Equal(lines, append([]string{"the map"}, want...)) {
		t.Errorf("a replay has %q, want the snapshot and the appends after it", lines)
	}
	names := segmentNames(files)
	if len(names) < 5 {
		t.Fatalf("only segments %q", names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files.write(t, dir)
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			j, _, damage := openQuick(t, dir)
			j.Close()
			if len(damage) != 1 || !strings.Contains(damage[0], name+" is missing") {
				t.Errorf("damage %q, want that it is missing", damage)
			}
		})
	}
}

// TestRemovalFails: a compaction that cannot remove what it has replaced has succeeded. The
// next one tries again.
func TestRemovalFails(t *testing.T) {
	for _, operation := range []string{"remove " + fileName(1), "rename stream", "remove stream", "remove last"} {
		t.Run(operation, func(t *testing.T) {
			dir := t.TempDir()
			readTree(t, filepath.Join("testdata", "jetstream", "clean")).write(t, dir)
			var log bytes.Buffer
			j, _, _ := openQuick(t, dir)
			j.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			all, _ := frames(0, 10)
			if err := j.Append(all); err != nil {
				t.Fatal(err)
			}
			failing, failed := true, 0
			j.disk.(*faultyDisk).before = func(o string) error {
				if failing && strings.HasPrefix(o, operation) {
					failed++
					return syscall.EIO
				}
				return nil
			}
			obsolete := func() (names []string) {
				for name := range readTree(t, dir) {
					if name == fileName(1) || name == oldMark || strings.HasPrefix(name, oldName) {
						names = append(names, name)
					}
				}
				return names
			}
			for range 2 {
				if err := j.Compact(t.Context(), parts([][]byte{[]byte("the map\n")})); err != nil || j.failed {
					t.Errorf("Compact = %v, failed %v, want success", err, j.failed)
				}
				if j.NeedsCompaction(0) {
					t.Error("it needs a compaction at once")
				}
			}
			if failed != 2 || len(obsolete()) == 0 {
				t.Errorf("%d removals failed, %q are left, want two and some", failed, obsolete())
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 2 {
				t.Errorf("%d warnings for two compactions: %s", n, &log)
			}
			failing = false
			if err := j.Compact(t.Context(), parts([][]byte{[]byte("the map\n")})); err != nil {
				t.Fatal(err)
			}
			if left := obsolete(); len(left) > 0 {
				t.Errorf("%q are left after a compaction that could remove them", left)
			}
			j.Close()
		})
	}
}
