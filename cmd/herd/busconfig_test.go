package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBusConfigPasted: the lines that bus-config prints work in another directory, and
// with several nats-servers on the host.
func TestBusConfigPasted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the lines are for a POSIX shell")
	}
	t.Parallel()
	// The programs on the PATH are this test binary.
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	here, bin := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(itself, filepath.Join(bin, "herd")); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(bin, "nats-server"), fmt.Sprintf("#!/bin/sh\n%s= %s=1 exec %s \"$@\"\n", asProgram, asBroker, shellWord(itself)))
	write(filepath.Join(here, "edges"), "A-B\n")
	paste := func(dir, line string, env ...string) *program {
		cmd := exec.Command("sh", "-c", "exec env "+line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), append(env, asProgram+"=1", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))...)
		return startCommand(t, cmd)
	}

	p := paste(here, fmt.Sprintf("herd bus-config --routes --listen=%s --cluster=%s --monitor=off", freeAddresses(t, 3), freeAddresses(t, 3)),
		"HERD_TOPOLOGY=./edges", "container=")
	if got := p.status(); got != exitOK {
		t.Fatalf("bus-config: exit status %d: %s", got, p.stderr.String())
	}
	elsewhere := t.TempDir()
	lines := func(pattern string) (found []string) {
		t.Helper()
		for _, m := range regexp.MustCompile(`(?m)^  (`+pattern+`.*)$`).FindAllStringSubmatch(p.stdout.String(), -1) {
			found = append(found, m[1])
		}
		if len(found) == 0 {
			t.Fatalf("no line %s in %s", pattern, p.stdout.String())
		}
		return found
	}
	var brokers []*program
	for _, line := range lines(`nats-server -c `) {
		brokers = append(brokers, paste(elsewhere, line))
	}
	for i, b := range brokers {
		b.stderr.await(t, fmt.Sprintf(`Name: +herd-%d\n`, i+1))
		b.stderr.await(t, "Server is ready")
	}
	for _, line := range lines(`nats-server --signal `) {
		if reload := paste(elsewhere, line); reload.status() != exitOK {
			t.Errorf("%s: %s", line, reload.stderr.String())
		}
	}
	for _, b := range brokers {
		b.stderr.await(t, "Reloaded server configuration")
	}
	serve := lines(`HERD_.* herd serve A`)[0]
	for _, line := range []string{serve, strings.NewReplacer("serve A", "serve B", "A.nk", "B.nk").Replace(serve)} {
		paste(elsewhere, line, "HERD_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=off").stderr.await(t, "msg=ready")
	}
	if status := paste(elsewhere, lines(`HERD_.* herd status`)[0]+" --wait="+patience.String()); status.status() != exitOK {
		t.Errorf("status: %s%s", status.stdout.String(), status.stderr.String())
	}
}

// TestBuiltByGoRun: programs of go run are told from others by their path.
func TestBuiltByGoRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module herd\n\ngo 1.24\n",
		"main.go": "package main\n\nimport (\"fmt\"; \"os\")\n\nfunc main() { fmt.Println(os.Executable()) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time from the cache
		out, err := exec.Command("go", "run", "-C", dir, ".").Output()
		if err != nil {
			t.Fatal("go run:", err)
		}
		path := strings.TrimSuffix(strings.TrimSpace(string(out)), " <nil>")
		if !builtByGoRun.MatchString(filepath.ToSlash(path)) {
			t.Errorf("%s is not told from other programs", path)
		}
	}
	for _, path := range []string{"/usr/local/bin/herd", "/home/me/go-build/herd/herd", "/home/me/ab/herd"} {
		if builtByGoRun.MatchString(path) {
			t.Errorf("%s passes for a program of go run", path)
		}
	}
}

// TestCheckout: the checkout is found from its root and from a directory in it.
func TestCheckout(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "go.mod"), []byte("module herdsman\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, dir := range []string{root, filepath.Join(root, "cmd", "herd"), other} {
		t.Chdir(dir)
		got = append(got, checkout())
	}
	if d := cmp.Diff([]string{root, root, ""}, got); d != "" {
		t.Errorf("checkout (-want +got):\n%s", d)
	}
}

// TestKeysIgnored: git ignores what bus-config writes to its default directory.
func TestKeysIgnored(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Split(string(text), "\n"), "/keys/") {
		t.Error(".gitignore has no line /keys/")
	}
}
