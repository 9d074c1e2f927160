package keydir

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
	"runtime"
)

// dir is a directory that this process has locked. Changes are prepared with put and
// take effect with commit.
type dir struct {
	path    string
	lock    *flock.Flock
	keys    access.Keys // every seed in the directory, by file name without SeedExt
	pending []pending   // in the order in which commit puts them in place
}

// pending is a file that is complete under a temporary name.
type pending struct{ temporary, path string }

// openDir creates the directory if it is missing, locks it and reads all seeds. Its
// error names all faulty seeds of users.
func openDir(path string, users []access.User) (*dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	d := &dir{path: path, lock: flock.New(filepath.Join(path, lockFile)), keys: access.Keys{}}
	switch locked, err := d.lock.TryLock(); {
	case err != nil:
		return nil, err
	case !locked:
		return nil, fmt.Errorf("another bus-config is writing to %s", path)
	}
	if err := d.readSeeds(users); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dir) readSeeds(users []access.User) error {
	files, err := filepath.Glob(filepath.Join(globEscape(d.path), "*"+SeedExt))
	if err != nil {
		return err
	}
	var faults []error
	holders := map[string]string{} // path by public key
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), SeedExt)
		key, err := readSeed(path)
		if err != nil {
			if slices.ContainsFunc(users, func(u access.User) bool { return u.Name == name }) {
				faults = append(faults, fmt.Errorf("%w: move it away to get a new key", err))
			}
			continue // a foreign file, which stays as it is
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

// readSeed reads a user's key.
func readSeed(path string) (nkeys.KeyPair, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.ParseDecoratedUserNKey(content)
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a user's nkey seed", path)
	}
	return key, nil
}

// globEscape returns a pattern that matches the path itself only.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// createKeys creates the keys that are missing, and returns the keys of all users.
func (d *dir) createKeys(r access.Rules) (keys access.Keys, created []string, err error) {
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
		if err := d.put(name+SeedExt, append(seed, '\n'), 0o600); err != nil {
			return nil, nil, err
		}
		created = append(created, name)
	}
	return keys, created, nil
}

// clusterPassword reads the password that the brokers of a cluster share, or creates
// it.
func (d *dir) clusterPassword() (string, error) {
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
		return "", fmt.Errorf("%s was not written by bus-config: move it away to get a new password", path)
	}
	return password, nil
}

// gone returns the users that the previous configurations knew and the rules do not.
func (d *dir) gone(rules access.Rules, before string) (gone []string, err error) {
	public, err := d.keys.Public()
	if err != nil {
		return nil, err
	}
	for name, key := range public {
		if strings.Contains(before, key) && !slices.ContainsFunc(rules.Users, func(u access.User) bool { return u.Name == name }) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone, nil
}

// put writes a file under a temporary name, for commit to put in place.
func (d *dir) put(name string, content []byte, mode os.FileMode) error {
	p := pending{filepath.Join(d.path, newPrefix+name), filepath.Join(d.path, name)}
	d.pending = append(d.pending, p)
	return writeSynced(p.temporary, content, mode)
}

// commit revokes the seeds of users that are gone, and puts all pending files in
// place. A revoked seed is renamed, not deleted, so that a mistake can be undone.
// commit returns the new names by user.
//
// If it is interrupted, a second run completes the work: configurations, which depend
// on the seeds, come last.
func (d *dir) commit(gone []string) (revoked map[string]string, err error) {
	revoked = map[string]string{}
	for _, name := range gone {
		from := SeedFile(d.path, name)
		to := from + revokedExt
		for n := 2; exists(to); n++ {
			to = fmt.Sprintf("%s%s-%d", from, revokedExt, n)
		}
		if err := os.Rename(from, to); err != nil {
			return nil, err
		}
		revoked[name] = filepath.Base(to)
	}
	for _, p := range d.pending {
		if err := os.Rename(p.temporary, p.path); err != nil {
			return nil, err
		}
	}
	d.pending = nil
	if runtime.GOOS == "windows" { // it cannot flush a directory
		return revoked, nil
	}
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return revoked, f.Sync()
}

// close removes the files that were not committed, and unlocks the directory.
func (d *dir) close() {
	for _, p := range d.pending {
		os.Remove(p.temporary)
	}
	d.lock.Unlock()
}

// writeSynced writes a file and returns when it is on the disk.
func writeSynced(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
