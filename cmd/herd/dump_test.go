package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dumpText is the output of `herd dump`.
func dumpText(t *testing.T, env []string, args ...string) string {
	t.Helper()
	p := start(t, env, append([]string{"dump"}, args...)...)
	if status := p.status(); status != exitOK || p.stderr.String() != "" {
		t.Fatalf("dump: status %d, stderr %q", status, p.stderr.String())
	}
	return p.stdout.String()
}

// dumped is the lines of dumpText, sorted.
func dumped(t *testing.T, env []string, args ...string) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(dumpText(t, env, args...), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// TestDumpAndRestore: what one herd dumps, as lines or as JSON, another one takes: it has the same records then. What
// it has already, what is older, and what is no record is counted.
func TestDumpAndRestore(t *testing.T) {
	t.Parallel()
	from, to := startUp(t, "A-B"), startUp(t, "A-B")
	env := func(h upHerd) []string {
		return []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + opsSeedOf(t, h)}
	}
	var want []string
	for i, client := range []string{"kiwi", "emu", "not\xffUTF-8", "{brace"} {
		record := dial(t, from.addresses[0]).ask(fmt.Sprintf("IAMAT %s +1.%d-2 %d", client, i, 100+i))
		awaitAgreement(t, client, record, from.addresses...)
		want = append(want, record)
	}
	slices.Sort(want)
	if got := dumped(t, env(from)); !slices.Equal(got, want) {
		t.Errorf("dump = %q, want %q", got, want)
	}
	restore := func(status int, counts string, lines ...string) (stderr string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "dump")
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, env(to), "restore", file)
		if got := p.status(); got != status || p.stdout.String() != counts+"\n" {
			t.Errorf("restore: status %d, counts %q, stderr %q, want %d and %q", got, p.stdout.String(), p.stderr.String(), status, counts)
		}
		return p.stderr.String()
	}
	restore(exitOK, "news 2 duplicate 0 stale 0 refused 0 bad 0", want[:2]...)
	for _, record := range want[:2] { // either server may take the next request
		awaitAgreement(t, strings.Fields(record)[3], record, to.addresses...)
	}
	restore(exitOK, "news 2 duplicate 2 stale 0 refused 0 bad 0", dumped(t, env(from), "--format", "json", "--server", "B")...)
	for _, record := range want {
		awaitAgreement(t, strings.Fields(record)[3], record, to.addresses...)
	}
	if got := dumped(t, env(to), "--server=B"); !slices.Equal(got, want) {
		t.Errorf("dump of the other herd = %q, want %q", got, want)
	}
	older := strings.Replace(want[0], strings.Fields(want[0])[5], "5", 1)
	if stderr := restore(exitFailure, "news 0 duplicate 1 stale 1 refused 0 bad 2", older, "junk", "", want[1]+"\r", `{"client":"kiwi"}`); contains(stderr, "2 lines are no records, the first is line 2") != nil {
		t.Errorf("restore of junk: stderr %q", stderr)
	}
	if stderr := restore(exitFailure, "news 0 duplicate 2 stale 0 refused 0 bad 1", want[0], strings.Repeat("x", 3*longestLine), want[1]); contains(stderr, "1 line is no record, the first is line 2") != nil {
		t.Errorf("restore with a very long line: stderr %q", stderr)
	}
}

// TestDumpGeoJSON: the output is a feature collection, also of an empty map.
func TestDumpGeoJSON(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats}
	for clients := range 3 {
		if clients > 0 {
			dial(t, h.addresses[0]).ask(fmt.Sprintf("IAMAT client%d +1.5-2 100", clients))
		}
		var collection struct {
			Type     string
			Features []struct {
				Geometry struct{ Coordinates [2]float64 }
			}
		}
		text := dumpText(t, env, "--format=geojson")
		if err := json.Unmarshal([]byte(text), &collection); err != nil || collection.Type != "FeatureCollection" || len(collection.Features) != clients {
			t.Fatalf("GeoJSON of %d clients: %v in %s", clients, err, text)
		}
		for _, f := range collection.Features {
			if f.Geometry.Coordinates != [2]float64{-2, 1.5} {
				t.Errorf("coordinates %v", f.Geometry.Coordinates)
			}
		}
	}
}

// TestRestoreDenied: a guest cannot restore, and learns which key is needed.
func TestRestoreDenied(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	file := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(file, []byte("AT Solo +1.000000000 kiwi +1+1 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats}, "restore", file)
	if status := p.status(); status != exitFailure || contains(p.stderr.String(), "only operators may send this request: set HERD_NATS_SEED="+opsSeedOf(t, h)) != nil {
		t.Errorf("restore without a key: status %d, stderr %q", status, p.stderr.String())
	}
	if got := dial(t, h.addresses[0]).lookup("kiwi"); !strings.HasPrefix(got, "? ") {
		t.Errorf("the record is there: %q", got)
	}
}

// TestRestoreJournalled: what was restored is in the journal when the command ends.
func TestRestoreJournalled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startUp(t, "Solo", "HERD_JOURNAL=ack", "HERD_DATA_DIR="+dir)
	file := filepath.Join(t.TempDir(), "dump")
	const record = "AT Solo +1.000000000 kiwi +1+1 5"
	if err := os.WriteFile(file, []byte(record+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"HERD_TOPOLOGY=Solo", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + opsSeedOf(t, h)}, "restore", file)
	if status := p.status(); status != exitOK {
		t.Fatalf("restore: status %d, stderr %q", status, p.stderr.String())
	}
	h.kill()
	again := startUp(t, "Solo", "HERD_JOURNAL=ack", "HERD_DATA_DIR="+dir)
	if got := dial(t, again.addresses[0]).lookup("kiwi"); got != record {
		t.Errorf("after a kill: %q, want %q", got, record)
	}
}
