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

// TestBusConfigFlags: flags from which no working configuration would follow are refused, and
// nothing is written.
func TestBusConfigFlags(t *testing.T) {
	t.Parallel()
	public := []string{"--listen=0.0.0.0:4222", "--cluster=0.0.0.0:6222", "--routes"}
	for want, args := range map[string][]string{
		"--listen: is empty":                            {"--listen="},
		"--listen: 127.0.0.1:0 has port 0":              {"--listen=127.0.0.1:0"},
		"--cluster: is empty":                           {"--routes", "--cluster="},
		"--cluster: 127.0.0.1:0 has port 0":             {"--routes", "--cluster=127.0.0.1:0"},
		"--monitor: is empty":                           {"--monitor="},
		"--monitor: 127.0.0.1:0 has port 0":             {"--monitor=127.0.0.1:0"},
		`--listen: "127.0.0.1:99999" is not an address`: {"--routes", "--listen=127.0.0.1:99999"},
		`--hosts: "a:1" is not the name`:                append(public, "--hosts=a:1,b,c"),
		`--hosts: "b c" is not the name`:                append(public, "--hosts=a,b c,c"),
		`--hosts: "\"" is not the name`:                 append(public, `--hosts=a,b,"`),
		"--hosts: a is named twice":                     append(public, "--hosts=a,b,a"),
		"--hosts: a cluster has 3 brokers":              append(public, "--hosts=a,b"),
		"(see herd help bus-config)":                    {"--dance"},
	} {
		dir := filepath.Join(t.TempDir(), "keys")
		exit, out := outcome(t, nil, append(append([]string{"bus-config"}, args...), dir)...)
		if exit != exitUsage || !strings.Contains(out, want) || strings.Contains(out, "leaves no port") {
			t.Errorf("bus-config %q: exit status %d, %s, want %q", args, exit, out, want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("bus-config %q has made its directory", args)
		}
	}
	for _, hosts := range []string{"a,b.example,c-1", "10.0.0.1,10.0.0.2,fd00::3"} {
		dir := filepath.Join(t.TempDir(), "keys")
		if exit, out := outcome(t, nil, append(append([]string{"bus-config"}, public...), "--hosts="+hosts, dir)...); exit != exitOK {
			t.Errorf("--hosts=%s: exit status %d, %s", hosts, exit, out)
		}
	}
}

// TestBusConfigOtherTopology: another herd's topology does not revoke all keys unasked.
func TestBusConfigOtherTopology(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	busConfig := func(spec string, args ...string) (exit int, out string) {
		t.Helper()
		return outcome(t, []string{"HERD_TOPOLOGY=" + spec}, append(append([]string{"bus-config"}, args...), dir)...)
	}
	if exit, out := busConfig("goloman"); exit != exitOK {
		t.Fatal(out)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	conf, key := read("nats.conf"), read("Welsh.nk")
	exit, out := busConfig("riley")
	if exit != exitFailure || !strings.Contains(out, "Goloman, Hands, Holiday, Welsh, Wilkes, which the topology lacks") || !strings.Contains(out, "add --replace; nothing was changed") {
		t.Errorf("exit status %d, %s", exit, out)
	}
	if read("nats.conf") != conf || read("Welsh.nk") != key {
		t.Error("files have changed")
	}
	if _, err := os.Stat(filepath.Join(dir, "Riley.nk")); err == nil {
		t.Error("a key of the other herd was made")
	}
	if exit, out := busConfig("Goloman-Hands,Hands-Holiday,Holiday-Wilkes"); exit != exitOK || !strings.Contains(out, "revoked: moved to Welsh.nk.revoked") {
		t.Errorf("without one server: exit status %d, %s", exit, out)
	}
	if exit, out := busConfig("riley", "--replace"); exit != exitOK || strings.Count(out, "revoked: moved to") != 4 {
		t.Errorf("with --replace: exit status %d, %s", exit, out)
	}
}

// TestMissingKeys: the directory of keys, which HERD_NATS_SEED names, may be missing while
// bus-config creates it; commands that need it say where it was looked for.
func TestMissingKeys(t *testing.T) {
	t.Parallel()
	here := t.TempDir()
	run := func(args ...string) (exit int, out string) {
		t.Helper()
		cmd := command(t, asProgram, []string{"HERD_NATS_SEED=keys", "HERD_NATS_URL=nats://127.0.0.1:1", "HERD_TOPOLOGY=A"}, args...)
		cmd.Dir = here
		p := startCommand(t, cmd)
		exit = p.status()
		return exit, p.stdout.String() + p.stderr.String()
	}
	for _, args := range [][]string{{"status"}, {"get", "kiwi"}, {"reload"}, {"serve", "A"}, {"up"}, {"env"}} {
		if exit, out := run(args...); exit != exitUsage || !strings.Contains(out, "HERD_NATS_SEED: open keys: no such file or directory (in "+here+"): herd bus-config writes keys") {
			t.Errorf("%q: exit status %d, %s", args, exit, out)
		}
	}
	for _, args := range [][]string{{"topology"}, {"bus-config"}, {"topology"}} {
		if exit, out := run(args...); exit != exitOK {
			t.Errorf("%q: exit status %d, %s", args, exit, out)
		}
	}
	if exit, out := run("status"); exit != exitFailure {
		t.Errorf("status with the keys: exit status %d, %s", exit, out)
	}
	if exit, out := run("bus-config", "--tls-cert=S3cretLookingButAFlag", "--tls-key=b.pem"); exit != exitUsage || !strings.Contains(out, "--tls-cert: open S3cretLookingButAFlag: no such file or directory (in "+here+")") {
		t.Errorf("missing certificate: exit status %d, %s", exit, out)
	}
}
