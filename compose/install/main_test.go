package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestInstall: the copy is complete, and everybody may read it.
func TestInstall(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "a", "b")
	if err := os.Mkdir(filepath.Join(from, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"one", "dir/two"} {
		if err := os.WriteFile(filepath.Join(from, file), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := install(from, to); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"one": 0o644, "dir": 0o755, "dir/two": 0o644, ".": 0o755} {
		path := filepath.Join(to, name)
		info, err := os.Stat(path)
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, mode)
		} else if content, err := os.ReadFile(path); !info.IsDir() && (err != nil || string(content) != name) {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
}
