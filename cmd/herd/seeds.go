package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	"github.com/nats-io/nkeys"

	"herd/bus/access"
)

// What is in a directory that bus-config writes: a file <user>.nk with the seed of
// each user's nkey, brokers' configurations, and with a cluster the password of its
// brokers towards each other. Nothing in it that is not ours is changed.
const (
	seedExt      = ".nk"
	revokedExt   = ".revoked"
	passwordFile = "cluster.password"
	lockFile     = ".lock"
	newPrefix    = ".new-" // of a file that is being written
)

// seedFile is the file with a user's seed.
func seedFile(dir, user string) string { return filepath.Join(dir, user+seedExt) }

// seedDir is such a directory, which is one process's until it is closed.
type seedDir struct {
	path   string
	lock   *flock.Flock
	keys   access.Keys // all that it holds, by file name less .nk
	writes []write     // what commit puts in place
}

// write is a file to be put in place, whole or not at all.
type write struct{ temporary, path string }

// openSeedDir makes the directory if need be and reads all seeds. Its error names
// all that is wrong with those of users.
func openSeedDir(path string, users []access.User) (*seedDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	d := &seedDir{path: path, lock: flock.New(filepath.Join(path, lockFile)), keys: access.Keys{}}
	switch locked, err := d.lock.TryLock(); {
	case err != nil:
		return nil, err
	case !locked:
		return nil, fmt.Errorf("another bus-config writes to %s", path)
	}
	if err := d.read(users); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *seedDir) read(users []access.User) error {
	files, err := filepath.Glob(filepath.Join(globEscape(d.path), "*"+seedExt))
	if err != nil {
		return err
	}
	var faults []error
	holders := map[string]string{}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), seedExt)
		key, err := readSeed(path)
		if err != nil {
			if slices.ContainsFunc(users, func(u access.User) bool { return u.Name == name }) {
				faults = append(faults, fmt.Errorf("%w: move it away for a new key", err))
			}
			continue // somebody else's
		}
		public, err := key.PublicKey()
		if err != nil {
			return err
		}
		if other := holders[public]; other != "" {
			faults = append(faults, fmt.Errorf("%s and %s hold the same key: move one away", other, path))
		}
		holders[public] = path
		d.keys[name] = key
	}
	return errors.Join(faults...)
}

// readSeed reads the key of a user.
func readSeed(path string) (nkeys.KeyPair, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.ParseDecoratedUserNKey(content)
	if err != nil {
		return nil, fmt.Errorf("%s holds no seed of a user's nkey", path)
	}
	return key, nil
}

// globEscape makes a path match itself only.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// complete makes the keys that users lack and returns the keys of all of them.
func (d *seedDir) complete(r access.Rules) (keys access.Keys, created []string, err error) {
	keys, err = access.NewKeys(r)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if kept := d.keys[name]; kept != nil {
			keys[name] = kept
			continue
		}
		seed, err := keys[name].Seed()
		if err != nil {
			return nil, nil, err
		}
		if err := d.put(name+seedExt, append(seed, '\n'), 0o600); err != nil {
			return nil, nil, err
		}
		created = append(created, name)
	}
	return keys, created, nil
}

// password is what brokers of a cluster show each other, made when there is none.
func (d *seedDir) password() (string, error) {
	path := filepath.Join(d.path, passwordFile)
	content, err := os.ReadFile(path)
	password := strings.TrimSpace(string(content))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		password = rand.Text()
		return password, d.put(passwordFile, []byte(password+"\n"), 0o600)
	case err != nil:
		return "", err
	case len(password) < 20 || strings.Trim(password, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "":
		return "", fmt.Errorf("%s holds no password of bus-config's making: move it away for a new one", path)
	}
	return password, nil
}

// put gets a file ready to be put in place by commit.
func (d *seedDir) put(name string, content []byte, mode os.FileMode) error {
	w := write{filepath.Join(d.path, newPrefix+name), filepath.Join(d.path, name)}
	f, err := os.OpenFile(w.temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	d.writes = append(d.writes, w)
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// commit puts in place what was put, and takes away the seeds of users that are no
// more: not for ever, in case of a mistake. It returns where they are now, by user.
// The order is such that an end half-way leaves nothing that a second run would not
// put right: configurations come last.
func (d *seedDir) commit(gone []string) (revoked map[string]string, err error) {
	revoked = map[string]string{}
	for _, name := range gone {
		from := seedFile(d.path, name)
		to := from + revokedExt
		for n := 2; exists(to); n++ {
			to = fmt.Sprintf("%s%s-%d", from, revokedExt, n)
		}
		if err := os.Rename(from, to); err != nil {
			return nil, err
		}
		revoked[name] = filepath.Base(to)
	}
	for _, w := range d.writes {
		if err := os.Rename(w.temporary, w.path); err != nil {
			return nil, err
		}
	}
	d.writes = nil
	dir, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return revoked, dir.Sync()
}

// close drops what was not committed.
func (d *seedDir) close() {
	for _, w := range d.writes {
		os.Remove(w.temporary)
	}
	d.lock.Unlock()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
