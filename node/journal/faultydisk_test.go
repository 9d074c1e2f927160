package journal

import (
	"os"
	"path/filepath"
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
