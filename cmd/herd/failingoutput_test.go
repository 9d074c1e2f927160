package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestOutputFails: every command fails with 1, and says why, if its output cannot be written.
func TestOutputFails(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip(err)
	}
	h := startUp(t, "A-B")
	dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	env := []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + h.nats}
	seed := "HERD_NATS_SEED=" + opsSeedOf(t, h)
	arguments := map[string][]string{
		"ask": {h.addresses[0], "hello"}, "get": {"kiwi"}, "load": {"--count=10", "--clients=8", h.addresses[0], h.addresses[1]},
		"bus-config": {t.TempDir() + "/keys"}, "completion": {"bash"}, "near": {"kiwi", "10", "--json"}, "forget": {"kiwi"}, "restore": {"-"},
	}
	check := func(args ...string) {
		t.Helper()
		cmd := command(t, asProgram, env, args...)
		if slices.Contains([]string{"reload", "restore", "forget"}, args[0]) {
			cmd.Env = append(cmd.Env, seed)
		}
		out, err := os.OpenFile(full, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout = out
		p := startCommand(t, cmd)
		status, said := p.status(), p.stderr.String()
		if status != exitFailure || !strings.Contains(said, "no space left on device") || strings.Contains(said, "see herd help") {
			t.Errorf("herd %s: exit status %d, %q", strings.Join(args, " "), status, said)
		}
	}
	for _, c := range model().Children {
		if slices.Contains([]string{"up", "serve", "healthcheck"}, c.Name) { // they have no result to print
			continue
		}
		check(append([]string{c.Name}, arguments[c.Name]...)...)
	}
	for _, args := range [][]string{
		{"--help"}, {"--version"}, {"status", "--help"}, {"status", "--json"}, {"status", "--watch"}, {"status", "--watch", "--json"},
		{"get", "--json", "kiwi"}, {"load", "--json", "--count=10", "--clients=8", h.addresses[0]}, {"bus-config", "--routes", t.TempDir() + "/keys"},
	} {
		check(args...)
	}
	h.stop()
}
