package journal

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

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
