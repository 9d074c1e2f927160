package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// invocation is how to run this program again in the same directory, if it was run as arg0.
func invocation(arg0 string) string {
	if builtByGoRun.MatchString(filepath.ToSlash(arg0)) {
		return "go run ./cmd/herd"
	}
	return shellWord(arg0)
}

// builtByGoRun matches the path of a program that go run has built: in a temporary
// directory or, since Go 1.24, in the build cache.
var builtByGoRun = regexp.MustCompile(`/go-build[0-9]+/b[0-9]+/exe/[^/]+$|/[0-9a-f]{2}/[0-9a-f]{64}-d/[^/]+$`)

// programCommand returns the words that start this program from any directory.
func programCommand() string {
	path, err := os.Executable()
	if err != nil {
		return "herd"
	}
	if found, err := exec.LookPath("herd"); err == nil && sameFile(found, path) {
		return "herd"
	}
	if builtByGoRun.MatchString(filepath.ToSlash(path)) {
		if dir := checkout(); dir != "" {
			return "go run -C " + shellWord(dir) + " ./cmd/herd"
		}
	}
	return shellWord(path)
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// checkout returns the root of the checkout that holds the working directory, or "".
func checkout() string {
	dir, err := os.Getwd()
	for err == nil {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && strings.HasPrefix(string(text), "module herd\n") {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return ""
}

// shellWord quotes a word for a shell, if necessary.
func shellWord(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-./:,+@%=", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return quoteShell(strings.ReplaceAll(s, "\n", " "))
}

// quoteShell quotes a word for a POSIX shell.
func quoteShell(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
