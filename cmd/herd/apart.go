package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"herd/bus/access"
)

// With --apart, what bus-config wrote is handed out: whoever is given one of these
// directories, such as a container, a volume, sees what is its own and no more. The
// operators' keys stay where they are.

// apartName is the directory that a file is put into: Welsh for Welsh.nk.
func apartName(file string) string { return strings.TrimSuffix(file, filepath.Ext(file)) }

// putApart copies each server's key and each broker's configuration from dir into a
// directory of its own below apart, and takes revoked keys away there.
func putApart(dir, apart string, rules access.Rules, brokers []broker, did outcome) error {
	files := map[string]bool{}
	for _, one := range brokers {
		files[one.file] = true
	}
	for _, u := range rules.Users {
		if u.Account == access.Herd {
			files[u.Name+seedExt] = true
		}
	}
	for file := range did {
		own := filepath.Join(apart, apartName(file))
		if !files[file] {
			if err := os.Remove(filepath.Join(own, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.MkdirAll(own, 0o700); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(dir, file), filepath.Join(own, file)); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a small file with its mode: whoever reads at to meanwhile reads
// all of the old or all of the new.
func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(to), newPrefix+filepath.Base(to))
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		os.Remove(temporary)
		return err
	}
	return os.Rename(temporary, to)
}
