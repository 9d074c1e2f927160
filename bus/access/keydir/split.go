package keydir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"herd/bus/access"
)

// ownDir is the directory below SplitDir that a file is copied to: Welsh for Welsh.nk.
func ownDir(file string) string { return strings.TrimSuffix(file, filepath.Ext(file)) }

// splitPerServer copies each server's seed and each broker's configuration to a
// directory of its own, and removes copies of revoked seeds.
func splitPerServer(cfg Config) error {
	var files []string
	isServer := map[string]bool{}
	for i := range cfg.Brokers {
		files = append(files, cfg.ConfFile(i))
	}
	for _, u := range cfg.Rules.Users {
		if u.Account == access.Herd {
			files = append(files, u.Name+SeedExt)
			isServer[u.Name] = true
		}
	}
	for _, file := range files {
		own := filepath.Join(cfg.SplitDir, ownDir(file))
		if err := os.MkdirAll(own, 0o700); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(cfg.Dir, file), filepath.Join(own, file)); err != nil {
			return err
		}
	}
	// All seeds that were ever revoked, for an earlier run may have been interrupted
	// before it removed a copy.
	revoked, err := filepath.Glob(filepath.Join(globEscape(cfg.Dir), "*"+SeedExt+revokedExt+"*"))
	if err != nil {
		return err
	}
	for _, path := range revoked {
		name, _, _ := strings.Cut(filepath.Base(path), SeedExt+revokedExt)
		if isServer[name] {
			continue
		}
		copied := SeedFile(filepath.Join(cfg.SplitDir, name), name)
		if err := os.Remove(copied); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// copyFile copies a small file with its mode. A concurrent reader of to sees all of
// the old or all of the new content.
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
	if err := writeSynced(temporary, content, info.Mode().Perm()); err != nil {
		os.Remove(temporary)
		return err
	}
	return os.Rename(temporary, to)
}
