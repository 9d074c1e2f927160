package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// restoreLines brings records into a herd.
func restoreLines(t *testing.T, env []string, lines ...string) (output string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	status, output := outcome(t, env, "restore", file)
	if status != exitOK {
		t.Fatalf("restore: status %d, %s", status, output)
	}
	return output
}

// receivedAgo is a record that Goloman received some seconds ago.
func receivedAgo(client string, seconds int64) string {
	return fmt.Sprintf("AT Goloman +0.000000000 %s +34.07-118.45 %d", client, time.Now().Unix()-seconds)
}

// TestKeep: with HERD_KEEP a client that does not report is unknown after that time, not before, at all servers and for followers,
// get, dump and status. Other clients stay. Its record and its memory are gone some minutes later.
func TestKeep(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C", "HERD_KEEP=1m", "HERD_JOURNAL=ack", "HERD_DATA_DIR="+t.TempDir())
	env := []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + h.nats}
	ops := append([]string{"HERD_NATS_SEED=" + opsSeedOf(t, h)}, env...)
	metric := func(name string) float64 { return sum(scrape(t, h.ops), name) }
	eventually(t, func() error { // clocks are compared
		if metric("herd_expiry_paused") != 0 {
			return fmt.Errorf("nothing expires yet")
		}
		return nil
	})
	follower := start(t, env, "follow", "--interval=10ms")
	if out := restoreLines(t, ops, receivedAgo("old", 3600)); out != "news 0 duplicate 0 stale 1 refused 0 bad 0\n" {
		t.Errorf("restoring what has expired long ago: %q", out)
	}
	kiwi := receivedAgo("kiwi", 50)
	expires := time.Now().Add(9 * time.Second) // at the earliest
	restoreLines(t, ops, kiwi)
	emu := dial(t, h.addresses[0]).ask(fmt.Sprintf("IAMAT emu +1+1 %d", time.Now().Unix()))
	awaitAgreement(t, "emu", emu, h.addresses...)
	awaitAgreement(t, "kiwi", kiwi, h.addresses...)
	follower.stdout.await(t, "kiwi")
	for _, address := range h.addresses {
		c := dial(t, address)
		eventually(t, func() error {
			switch got := c.lookup("kiwi"); {
			case !strings.HasPrefix(got, "? "):
				return fmt.Errorf("%s still answers %q", address, got)
			case time.Now().Before(expires):
				t.Fatalf("%s answers %q too early", address, got)
			}
			return nil
		})
	}
	follower.stdout.await(t, "(?m)^- kiwi$")
	if status, out := outcome(t, env, "get", "kiwi"); status != exitFailure || contains(out, "no server knows the client") != nil {
		t.Errorf("get: status %d, %s", status, out)
	}
	if dump := dumped(t, env); len(dump) != 1 || dump[0]+"\n" != emu && dump[0] != emu {
		t.Errorf("dump %q, want %q", dump, emu)
	}
	eventually(t, func() error {
		if records, expired := metric("herd_records"), metric("herd_expired_records_total"); records != 3 || expired != 3 {
			return fmt.Errorf("%v records and %v expired ones, want one of each at three servers", records, expired)
		}
		return nil
	})
	if status, out := outcome(t, env, "status"); status != exitOK || strings.Count(out, "  yes    1  ") != 3 {
		t.Errorf("status: %d, %s, want a record", status, out)
	}
	awaitAgreement(t, "emu", emu, h.addresses...)
	if !*longFaults {
		t.Skip("records leave the map after minutes")
	}

	var many []string
	for i := range 20_000 {
		many = append(many, receivedAgo(fmt.Sprintf("bird%d", i), 115)) // expired; they leave two or three minutes after their time
	}
	before := metric("herd_map_bytes")
	restoreLines(t, ops, many...)
	full := metric("herd_map_bytes")
	eventually(t, func() error {
		if waiting := metric("herd_expired_records"); waiting < 60_000 {
			return fmt.Errorf("%v expired records, want 60,000", waiting)
		}
		return nil
	})
	for deadline := time.Now().Add(5 * time.Minute); metric("herd_expired_records") > 0; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("%v expired records are still in the maps", metric("herd_expired_records"))
		}
	}
	eventually(t, func() error { // memory is given back in parts
		if now := metric("herd_map_bytes"); now-before > (full-before)/2 {
			return fmt.Errorf("the maps have %v bytes, %v with the expired records, %v before", now, full, before)
		}
		return nil
	})
	if status, out := outcome(t, env, "status"); status != exitOK {
		t.Errorf("status: %d, %s", status, out)
	}
}

// TestDifferentKeep: servers with different HERD_KEEP exchange records, report a mismatch, and status exits with 1.
func TestDifferentKeep(t *testing.T) {
	t.Parallel()
	h := newProcesses(t, "A-B")
	h.env["A"] = []string{"HERD_KEEP=24h"}
	h.startAll(false)
	record := dial(t, h.addresses["A"]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses["B"])
	h.awaitSymptom(`level=ERROR msg=mismatch node=B text="A has another HERD_KEEP: 24h0m0s, ours is unset"`)
	status, out := outcome(t, h.busEnv(h.brokerAt), "status")
	if status != exitFailure || contains(out, "the servers have different HERD_KEEP: A 24h0m0s, B unset") != nil {
		t.Errorf("status: %d, %s", status, out)
	}
}
