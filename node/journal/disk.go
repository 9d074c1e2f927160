package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// disk is what a journal does with files. Tests replace it by one that fails.
type disk interface {
	// open opens a file for reading and writing, with the flags of os.OpenFile besides.
	open(name string, flag int) (file, error)
	// read opens a file for reading.
	read(name string) (file, error)
	names(dir string) ([]string, error)
	rename(from, to string) error
	remove(name string) error
	removeAll(name string) error
	// syncDir waits until the names of a directory's files are on the disk.
	syncDir(dir string) error
}

type file interface {
	Read(p []byte) (int, error)
	WriteAt(p []byte, offset int64) (int, error)
	Truncate(size int64) error
	Sync() error // waits until the content and the size are on the disk
	Close() error
}

// osDisk is the disk of the operating system.
type osDisk struct{}

// osFile is a file whose Sync does without the file's times.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return dataSync(f.File) }

func (osDisk) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o600)
	return osFile{f}, err
}

func (osDisk) read(name string) (file, error) {
	f, err := os.Open(name)
	return osFile{f}, err
}

func (osDisk) names(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(name string) error     { return os.Remove(name) }
func (osDisk) removeAll(name string) error  { return os.RemoveAll(name) }

func (osDisk) syncDir(dir string) error {
	if runtime.GOOS == "windows" { // it cannot
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) { // nor can some file systems
		err = nil
	}
	return errors.Join(err, d.Close())
}

// isFull reports whether an error means that the disk has no room. It goes away when
// there is room again, and says nothing about the file.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// explain says what an operator can do about an I/O error that ends a start.
func explain(dir string, err error) error {
	remedy := "remove the cause"
	switch {
	case errors.Is(err, errNewer):
		remedy = "install that version"
	case errors.Is(err, ErrForeign):
		remedy = fmt.Sprintf("set HERD_PREFIX and HERD_DATA_DIR to those that belong together, or, to take over its records, move its file %s away", manifestName)
	case isFull(err):
		remedy = "make room on the disk"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		remedy = "raise the limit of open files (ulimit -n)"
	case errors.Is(err, fs.ErrPermission):
		remedy = "let the user of this process read and write these files"
	case errors.Is(err, syscall.EROFS):
		remedy = "mount the disk for writing"
	case errors.Is(err, syscall.EIO):
		remedy = "check the disk; if the file stays unreadable, move it elsewhere: the rest of the journal is used then"
	}
	return fmt.Errorf("open %s: %w; the journal was left as it is: %s, and start again", dir, err, remedy)
}
