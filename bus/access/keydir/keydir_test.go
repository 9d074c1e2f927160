package keydir_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nkeys"

	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/topology"
)

// config is a directory for a single broker of the herd spec.
func config(t *testing.T, spec, dir string) keydir.Config {
	t.Helper()
	g, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	return keydir.Config{
		Dir:     dir,
		Rules:   access.NewRules(access.Config{Graph: g, Prefix: "herd"}),
		Brokers: []access.Broker{{Listen: "127.0.0.1:4222"}},
		Command: "herd bus-config DIR",
	}
}

func write(t *testing.T, cfg keydir.Config) (status map[string]string) {
	t.Helper()
	files, err := keydir.Write(cfg)
	if err != nil {
		t.Fatal(err)
	}
	status = map[string]string{}
	for _, f := range files {
		status[f.Name] = f.Status
	}
	return status
}

// contents returns the mode and content of every file below dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == ".lock" {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir)+"/")] = fmt.Sprintf("%v\n%s", info.Mode(), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWriteKeepsKeys(t *testing.T) {
	t.Parallel()
	cfg := config(t, "A-B", t.TempDir())
	want := map[string]string{"A.nk": "a new key", "B.nk": "a new key", "guest.nk": "a new key", "ops.nk": "a new key", "sys.nk": "a new key", "nats.conf": "written"}
	if diff := cmp.Diff(want, write(t, cfg)); diff != "" {
		t.Errorf("first write (-want +got):\n%s", diff)
	}
	before := contents(t, cfg.Dir)
	if len(before) != len(want) {
		t.Errorf("the directory holds %v, want the files %v", before, want)
	}
	for file, content := range before {
		mode := "-rw-------"
		if file == "nats.conf" {
			mode = "-rw-r--r--"
		}
		if !strings.HasPrefix(content, mode) {
			t.Errorf("%s has mode %.10s, want %s", file, content, mode)
		}
	}
	want = map[string]string{"A.nk": "kept", "B.nk": "kept", "guest.nk": "kept", "ops.nk": "kept", "sys.nk": "kept", "nats.conf": "unchanged"}
	if diff := cmp.Diff(want, write(t, cfg)); diff != "" {
		t.Errorf("second write (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, contents(t, cfg.Dir)); diff != "" {
		t.Errorf("the second write changed files (-before +after):\n%s", diff)
	}
}

// TestGuestIsAdded: a directory of a version that had no user guest gets its key and its
// rights, and keeps all other keys.
func TestGuestIsAdded(t *testing.T) {
	t.Parallel()
	older := config(t, "A-B", t.TempDir())
	older.Rules.Users = slices.DeleteFunc(older.Rules.Users, func(u access.User) bool { return u.Name == access.GuestUser })
	if got := write(t, older)["guest.nk"]; got != "" {
		t.Fatalf("the older version has guest.nk: %s", got)
	}
	cfg := config(t, "A-B", older.Dir)
	want := map[string]string{"A.nk": "kept", "B.nk": "kept", "guest.nk": "a new key", "ops.nk": "kept", "sys.nk": "kept", "nats.conf": "written"}
	if diff := cmp.Diff(want, write(t, cfg)); diff != "" {
		t.Errorf("write over the older version (-want +got):\n%s", diff)
	}
	files := contents(t, cfg.Dir)
	_, seed, _ := strings.Cut(files["guest.nk"], "\n")
	key, err := nkeys.ParseDecoratedUserNKey([]byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(files["nats.conf"], public) {
		t.Error("nats.conf has not the key of guest.nk")
	}
}

// TestReservedNames: no server has the name of a user that is no server, in any case.
func TestReservedNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ops", "Guest", "SYS"} {
		cfg := config(t, "A-"+name, t.TempDir())
		_, err := keydir.Write(cfg)
		if want := "a server cannot be named " + name; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("Write with a server %s: %v, want %q", name, err, want)
		}
		if files := contents(t, cfg.Dir); len(files) > 0 {
			t.Errorf("Write with a server %s wrote files", name)
		}
	}
}

func TestWriteWhenLocked(t *testing.T) {
	t.Parallel()
	cfg := config(t, "A-B", t.TempDir())
	other := flock.New(filepath.Join(cfg.Dir, ".lock"))
	if locked, err := other.TryLock(); !locked {
		t.Fatal(err)
	}
	const want = "another bus-config is writing to"
	if _, err := keydir.Write(cfg); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Write in a locked directory: %v, want %q", err, want)
	}
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	write(t, cfg)
	write(t, cfg) // the first Write has unlocked it
}

func TestClusterHasOnePassword(t *testing.T) {
	t.Parallel()
	cfg := config(t, "A-B", t.TempDir())
	given := access.Cluster{Name: "c", Listen: "127.0.0.1:6222", Others: []string{"127.0.0.1:6223"}}
	first, second := given, given
	cfg.Brokers = []access.Broker{{Listen: "127.0.0.1:4222", Cluster: &first}, {Listen: "127.0.0.1:4223", Cluster: &second}}
	write(t, cfg)
	files := contents(t, cfg.Dir)
	_, password, _ := strings.Cut(files["cluster.password"], "\n")
	password = strings.TrimSpace(password)
	for _, file := range []string{"nats-1.conf", "nats-2.conf"} {
		if !strings.HasPrefix(files[file], "-rw-------") {
			t.Errorf("%s has mode %.10s, want -rw-------", file, files[file])
		}
		if password == "" || !strings.Contains(files[file], fmt.Sprintf("password: %q", password)) {
			t.Errorf("%s does not hold the password of cluster.password", file)
		}
	}
	if first.Password != "" {
		t.Error("Write changed its Config")
	}
	if _, err := keydir.Write(config(t, "A-B", cfg.Dir)); err == nil || !strings.Contains(err.Error(), "configuration of a cluster") {
		t.Errorf("Write of a single broker's configuration beside a cluster's: %v", err)
	}
}

// TestInterruptedSplit: a copy of a revoked seed is removed even if the run that
// revoked it did not get that far.
func TestInterruptedSplit(t *testing.T) {
	t.Parallel()
	dir, split := t.TempDir(), t.TempDir()
	withSplit := func(spec string) keydir.Config {
		cfg := config(t, spec, dir)
		cfg.SplitDir = split
		return cfg
	}
	write(t, withSplit("A-B,B-C"))
	if _, err := os.Stat(filepath.Join(split, "C", "C.nk")); err != nil {
		t.Fatal(err)
	}
	if got, want := write(t, config(t, "A-B", dir))["C.nk"], "revoked: moved to C.nk.revoked"; got != want {
		t.Errorf("C.nk: %q, want %q", got, want)
	}
	write(t, withSplit("A-B"))
	if _, err := os.Stat(filepath.Join(split, "C", "C.nk")); !os.IsNotExist(err) {
		t.Errorf("the copy of a revoked seed: %v, want none", err)
	}
	write(t, withSplit("A-B,B-C")) // C returns, with a new key
	if _, err := os.Stat(filepath.Join(split, "C", "C.nk")); err != nil {
		t.Error(err)
	}
}
