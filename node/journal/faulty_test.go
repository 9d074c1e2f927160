package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"
)

func sum(b []byte) uint64 { return xxhash.Sum64(b) }

// faultyDisk is a disk that fails or is slow.
type faultyDisk struct {
	disk
	before func(operation string) error // called before each operation; its error fails it
}

// faultyFile is a file of a faultyDisk. A write that fails has written a part.
type faultyFile struct {
	file
	disk *faultyDisk
	name string
}

func (d *faultyDisk) wrap(f file, err error, name string) (file, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d, filepath.Base(name)}, nil
}

func (d *faultyDisk) do(operation, name string) error {
	return d.before(operation + " " + filepath.Base(name))
}

func (d *faultyDisk) open(name string, flag int) (file, error) {
	if err := d.do("open", name); err != nil {
		return nil, err
	}
	f, err := d.disk.open(name, flag)
	return d.wrap(f, err, name)
}

func (d *faultyDisk) read(name string) (file, error) {
	if err := d.do("open", name); err != nil {
		return nil, err
	}
	f, err := d.disk.read(name)
	return d.wrap(f, err, name)
}

func (d *faultyDisk) names(dir string) ([]string, error) {
	if err := d.do("names", dir); err != nil {
		return nil, err
	}
	return d.disk.names(dir)
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.do("rename", from); err != nil {
		return err
	}
	return d.disk.rename(from, to)
}

func (d *faultyDisk) remove(name string) error {
	if err := d.do("remove", name); err != nil {
		return err
	}
	return d.disk.remove(name)
}

func (d *faultyDisk) removeAll(name string) error {
	if err := d.do("remove", name); err != nil {
		return err
	}
	return d.disk.removeAll(name)
}

func (d *faultyDisk) syncDir(dir string) error {
	return d.do("sync", dir) // no test needs the disk itself
}

func (f *faultyFile) Read(p []byte) (int, error) {
	if err := f.disk.do("read", f.name); err != nil {
		return 0, err
	}
	return f.file.Read(p)
}

func (f *faultyFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.disk.do("write", f.name); err != nil {
		if f.name != endName { // small writes in place are whole
			f.file.WriteAt(p[:len(p)/2], offset)
		}
		return 0, err
	}
	return f.file.WriteAt(p, offset)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.disk.do("truncate", f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

func (f *faultyFile) Sync() error {
	return f.disk.do("sync", f.name)
}

// quickDisk is a disk that is not waited for.
func quickDisk() *faultyDisk {
	return &faultyDisk{disk: osDisk{}, before: func(string) error { return nil }}
}

// openQuick is open with a quickDisk.
func openQuick(t testing.TB, dir string) (j *Journal, lines, damage []string) {
	t.Helper()
	j = newJournal(dir)
	j.disk = quickDisk()
	lines, damage, err := replay(j)
	if err != nil {
		t.Fatal(err)
	}
	return j, lines, damage
}

var diskErrors = []error{syscall.ENOSPC, syscall.EIO, syscall.EMFILE, syscall.EACCES, syscall.EROFS}

// written makes a journal with a snapshot and three segments, and returns its lines.
func written(t *testing.T, dir string) (want []string) {
	t.Helper()
	snapshot, lines := frames(0, 20)
	want = append(want, lines...)
	for i := range 3 {
		j, _, _ := open(t, dir)
		if i == 0 {
			if err := j.Compact(t.Context(), parts(snapshot)); err != nil {
				t.Fatal(err)
			}
		}
		for k := range 10 {
			all, lines := frames(100+20*i+2*k, 100+20*i+2*k+2)
			if err := j.Append(all); err != nil {
				t.Fatal(err)
			}
			want = append(want, lines...)
		}
		j.Close()
	}
	return want
}

// contents are the contents of a directory's files, without those of states: they are
// written anew with the same facts.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != manifestName && e.Name() != endName {
			all[e.Name()] = string(text)
		}
	}
	return all
}

// TestOpenFails: each operation of a start fails in turn, with each error. Open returns the
// error, and nothing of the journal has changed: the next start reads all of it.
func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	want := written(t, dir)
	before := contents(t, dir)
	for at := 0; ; at++ {
		failed := ""
		for _, failure := range diskErrors {
			count := -1
			j := newJournal(dir)
			j.disk = &faultyDisk{disk: osDisk{}, before: func(operation string) error {
				if count++; count == at {
					failed = operation
					return &os.PathError{Op: "test", Path: operation, Err: failure}
				}
				return nil
			}}
			lines, damage, err := replay(j)
			if failed == "" {
				if at < 10 {
					t.Fatalf("only %d operations", at)
				}
				return
			}
			if err == nil { // it was not needed
				if j.Close(); !strings.HasPrefix(failed, "remove") || !slices.Equal(lines, want) || len(damage) > 0 {
					t.Errorf("%s failed: Open has %d lines, damage %q, no error", failed, len(lines), damage)
				}
				before = contents(t, dir)
				continue
			}
			if !errors.Is(err, failure) || !strings.Contains(err.Error(), "left as it is") {
				t.Errorf("%s failed: Open = %v, want %v and what to do", failed, err, failure)
			}
			after := contents(t, dir)
			for name, text := range before {
				if after[name] != text {
					t.Errorf("%s failed: %s has changed", failed, name)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%s failed: files %q before, %q after", failed, slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
		}
		j, lines, damage := open(t, dir)
		j.Close()
		if !slices.Equal(lines, want) || len(damage) > 0 {
			t.Fatalf("after %s failed: %d lines, damage %q, want %d and none", failed, len(lines), damage, len(want))
		}
		before = contents(t, dir)
	}
}

// TestOperationsFail: each operation on a running journal fails in turn, once or for ever
// (a kill). Appends are retried. The next start reads every frame whose Append returned
// nil, and reports no damage.
func TestOperationsFail(t *testing.T) {
	for _, sync := range []bool{false, true} {
		for _, failure := range []error{syscall.ENOSPC, syscall.EIO, nil} { // nil: killed
			t.Run(fmt.Sprintf("sync=%v/%v", sync, failure), func(t *testing.T) {
				t.Parallel()
				for at := 0; runWithFailure(t, sync, failure, at); at++ {
				}
			})
		}
	}
}

// runWithFailure runs a journal whose operation number at fails. more reports whether
// there was such an operation.
func runWithFailure(t *testing.T, sync bool, failure error, at int) (more bool) {
	dir := t.TempDir()
	snapshot, lines := frames(0, 20)
	want := slices.Clone(lines)
	j, _, _ := openQuick(t, dir)
	if err := j.Append(snapshot); err != nil {
		t.Fatal(err)
	}
	j.Close()
	defer os.RemoveAll(dir)

	errKilled := errors.New("killed")
	count, failed := -1, ""
	j = newJournal(dir)
	j.cfg.Sync = sync
	disk := quickDisk()
	j.disk = disk
	if _, _, err := replay(j); err != nil {
		t.Fatal(err)
	}
	disk.before = func(operation string) error {
		count++
		switch {
		case count == at && failure != nil:
			failed = operation
			return failure
		case count >= at && failure == nil:
			failed = operation
			return errKilled
		}
		return nil
	}
	add := func(from, to int) {
		all, lines := frames(from, to)
		for range 3 {
			err := j.Append(all)
			if err == nil {
				want = append(want, lines...)
				return
			}
			if failure == nil {
				return
			}
			all, lines = frames(from, to-1) // the next attempt has something else
		}
		t.Errorf("%s failed: Append does not recover", failed)
	}
	for round := range 3 {
		add(100+20*round, 108+20*round)
		var next func() [][]byte
		err := j.Compact(t.Context(), func() [][]byte {
			if next == nil { // the map has all that was appended
				next = parts([][]byte{[]byte(strings.Join(want, "\n") + "\n")}, [][]byte{[]byte("the rest\n")})
			}
			add(1000+100*round+count, 1002+100*round+count)
			return next()
		})
		if err == nil && round == 2 && failure != nil && len(j.older) > 3 {
			t.Errorf("%s failed: %d segments after compactions", failed, len(j.older))
		}
	}
	add(5000, 5003)
	disk.before = func(string) error {
		if failed != "" && failure == nil {
			return errKilled
		}
		return nil
	}
	j.Close()
	if err := j.lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	j, lines, damage := openQuick(t, dir)
	j.Close()
	for _, line := range want {
		if !slices.Contains(lines, line) {
			t.Errorf("%s failed: %q is lost", failed, line)
			break
		}
	}
	if len(damage) > 0 {
		t.Errorf("%s failed: damage %q", failed, damage)
	}
	return failed != ""
}

// TestRetriesDoNotGrow: however long a disk fails, retries do not make the journal larger.
// It works when the disk does.
func TestRetriesDoNotGrow(t *testing.T) {
	for _, tt := range []struct {
		operation string
		err       error
		same      bool // appending goes on in the same segment
	}{
		{"write segment", syscall.ENOSPC, true}, {"write segment", syscall.EIO, false}, {"sync segment", syscall.EIO, false},
		{"write end", syscall.EIO, false}, {"truncate", syscall.EIO, false},
	} {
		t.Run(fmt.Sprint(tt.operation, " ", tt.err), func(t *testing.T) {
			dir := t.TempDir()
			j := newJournal(dir)
			j.cfg.Sync = true
			disk := quickDisk()
			j.disk = disk
			if _, err := j.Open(nil); err != nil {
				t.Fatal(err)
			}
			first, want := frames(0, 10)
			if err := j.Append(first); err != nil {
				t.Fatal(err)
			}
			before := size(t, dir)
			disk.before = func(operation string) error {
				if strings.HasPrefix(operation, tt.operation) {
					return tt.err
				}
				if tt.operation == "truncate" && strings.HasPrefix(operation, "write segment") {
					return syscall.ENOSPC
				}
				return nil
			}
			failed, _ := frames(100, 200)
			for range 100 {
				if err := j.Append(failed); err == nil {
					t.Fatal("Append = nil, want an error")
				}
			}
			if after := size(t, dir); after > before+30_000 { // what was written of two attempts
				t.Errorf("%d bytes before, %d after 100 attempts", before, after)
			}
			disk.before = func(string) error { return nil }
			second, more := frames(10, 12)
			if err := j.Append(second); err != nil {
				t.Fatal(err)
			}
			if same := j.active.number == 1; same != tt.same {
				t.Errorf("appending goes on in segment %d", j.active.number)
			}
			j.Close()
			j, lines, damage := openQuick(t, dir)
			defer j.Close()
			if lines = slices.DeleteFunc(lines, func(line string) bool { return !slices.Contains(want, line) && !slices.Contains(more, line) }); !slices.Equal(lines, append(want, more...)) || len(damage) > 0 {
				t.Errorf("%d lines, damage %q, want %d and none", len(lines), damage, len(want)+len(more))
			}
		})
	}
}

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
// and while it replaces the manifest. When any of them is missing, a start reports it.
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
	j.Close()
	files := readTree(t, dir)
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
