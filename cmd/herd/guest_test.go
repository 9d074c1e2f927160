package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/node/status"
)

// The users ops and guest, and the key of operators that `herd up` writes.

// connectGuest connects to a broker without a key, and returns what the broker denies as well.
func connectGuest(t *testing.T, url string) (nc *nats.Conn, denied <-chan error) {
	t.Helper()
	errs := make(chan error, 1000)
	nc, err := nats.Connect(url, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, errs
}

// expectDenied expects that the broker has denied to publish on a subject.
func expectDenied(t *testing.T, denied <-chan error, subject string) {
	t.Helper()
	select {
	case err := <-denied:
		if err := contains(err.Error(), `Permissions Violation for Publish to "`+subject+`"`); err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatalf("publishing on %s was not denied", subject)
	}
}

// opsSeedOf is the path of the operators' key, as the banner of up shows it.
func opsSeedOf(t *testing.T, h upHerd) string {
	t.Helper()
	return h.stdout.await(t, `HERD_NATS_SEED=(\S+) \S+ reload`)[1]
}

// outcome runs a command to its end, and returns its exit status and all that it prints.
func outcome(t *testing.T, env []string, args ...string) (exit int, output string) {
	t.Helper()
	p := start(t, env, args...)
	exit = p.status()
	return exit, p.stdout.String() + p.stderr.String()
}

// TestGuestOfUp: on the bus of up, a client without a key can tap and send the requests that
// change nothing, and can neither send those of operators nor publish on any edge.
func TestGuestOfUp(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C,C-A,C-D"
	h := startUp(t, spec)
	env := []string{"HERD_TOPOLOGY=" + spec, "HERD_NATS_URL=" + h.nats}
	taps := startTap(t, h.nats)
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	taps.await(t, 3, record)

	nc, denied := connectGuest(t, h.nats)
	for _, e := range status.Endpoints {
		subject := e.Subject("herd", "A")
		if !e.OpsOnly {
			request, from := nats.NewMsg(subject), "Herd-Server"
			switch {
			case e.Stream:
				request.Header.Set(bus.StreamHeader, "an ID")
				from = bus.StreamEpochHeader
			case e.Name == status.NearEndpoint.Name:
				request.Data = []byte("kiwi 10")
			default:
				request.Data = []byte("kiwi")
			}
			if m, err := nc.RequestMsg(request, patience); err != nil || m.Header.Get(from) == "" || m.Header.Get("Nats-Service-Error-Code") != "" {
				t.Errorf("request to %s: %v, %v", subject, m, err)
			}
			continue
		}
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		expectDenied(t, denied, subject)
	}
	for _, from := range h.graph.Servers() {
		for _, to := range h.graph.Servers() {
			for _, lane := range bus.Lanes {
				subject := bus.Prefix("herd").Between(lane, from, to)
				if err := nc.Publish(subject, []byte("AT A +1.000000000 forged +1+1 5")); err != nil {
					t.Fatal(err)
				}
				expectDenied(t, denied, subject)
			}
		}
	}

	if exit, out := outcome(t, env, "get", "kiwi"); exit != exitOK || contains(out, "every server has the same record") != nil {
		t.Errorf("get without a key: exit status %d, %s", exit, out)
	}
	if exit, out := outcome(t, env, "status", "--wait", patience.String()); exit != exitOK {
		t.Errorf("status without a key: exit status %d, %s", exit, out)
	}
	seed := opsSeedOf(t, h)
	exit, out := outcome(t, env, "reload")
	if exit != exitFailure || contains(out, "only operators may send this request: set HERD_NATS_SEED="+seed+", ") != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("reload without a key: exit status %d, %s", exit, out)
	}
	if exit, out := outcome(t, append(env, "HERD_NATS_SEED="+seed), "reload"); exit != exitOK || strings.Count(out, "reloaded") != 4 {
		t.Errorf("reload with the key of %s: exit status %d, %s", seed, exit, out)
	}
	h.stop()
	taps.check(t, h.graph, []string{record})
}

// TestOpsSeedOfUp: the key that up writes is readable for its user only, and removed at the end
// with the directory that was made for it.
func TestOpsSeedOfUp(t *testing.T) {
	t.Parallel()
	temporary := t.TempDir()
	h := startUp(t, "A", "TMPDIR="+temporary)
	seed := opsSeedOf(t, h)
	for path, want := range map[string]string{seed: "-rw-------", filepath.Dir(seed): "drwx------"} {
		if info, err := os.Stat(path); err != nil || info.Mode().String() != want {
			t.Errorf("%s: %v, %v, want mode %s", path, info, err, want)
		}
	}
	if filepath.Dir(filepath.Dir(seed)) != temporary {
		t.Errorf("the key is %s, want it in a directory below %s", seed, temporary)
	}
	h.stop()
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if strings.Contains(h.stdout.String()+h.stderr.String(), "SU") && regexp.MustCompile(`SU[A-Z2-7]{56}`).MatchString(h.stdout.String()+h.stderr.String()) {
		t.Error("a seed was printed")
	}

	missing := filepath.Join(temporary, "missing")
	h = startUp(t, "A", "TMPDIR="+missing)
	h.stderr.await(t, `level=WARN msg="no file with the operators' key could be written.*HERD_DATA_DIR`)
	if out := h.stdout.await(t, `(?s)^.*Ctrl-C stops`)[0]; strings.Contains(out, "HERD_NATS_SEED") {
		t.Errorf("without a key, the banner is\n%s", out)
	}
	exit, out := outcome(t, []string{"HERD_TOPOLOGY=A", "HERD_NATS_URL=" + h.nats}, "reload")
	if exit != exitFailure || contains(out, "set HERD_NATS_SEED to their key, …/ops.nk") != nil {
		t.Errorf("reload without a key: exit status %d, %s", exit, out)
	}
	h.stop()
}

// TestOpsSeedInDataDir: with HERD_DATA_DIR the key is there, new at each start, and removed at
// the end. A key of an earlier process is refused.
func TestOpsSeedInDataDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	with := "HERD_DATA_DIR=" + dir
	old := keydir.SeedFile(dir, access.OpsUser)
	h := startUp(t, "A", with)
	if seed := opsSeedOf(t, h); seed != old {
		t.Errorf("the key is %s, want %s", seed, old)
	}
	first, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	if exit, out := outcome(t, []string{"HERD_TOPOLOGY=A", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + dir}, "reload"); exit != exitOK {
		t.Errorf("reload with the directory: exit status %d, %s", exit, out)
	}
	if exit, out := outcome(t, append([]string{"HERD_TOPOLOGY=A", with}, anyPorts...), "up"); exit != exitFailure || contains(out, "another process uses "+dir) != nil {
		t.Errorf("a second herd up with the directory: exit status %d, %s", exit, out)
	}
	h.signal(os.Kill)
	<-h.ended
	if now, err := os.ReadFile(old); err != nil || string(now) != string(first) {
		t.Errorf("the key of a process that was killed: %v", err)
	}

	h = startUp(t, "A", with)
	opsSeedOf(t, h)
	if now, err := os.ReadFile(old); err != nil || string(now) == string(first) {
		t.Errorf("the key is not new: %v", err)
	}
	stale := filepath.Join(t.TempDir(), "stale.nk")
	if err := os.WriteFile(stale, first, 0o600); err != nil {
		t.Fatal(err)
	}
	exit, out := outcome(t, []string{"HERD_TOPOLOGY=A", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + stale}, "reload")
	if exit != exitFailure || contains(out, "set HERD_NATS_SEED to their key, …/ops.nk, which bus-config has written, and herd up at its start") != nil {
		t.Errorf("reload with the key of an earlier process: exit status %d, %s", exit, out)
	}
	h.stop()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the key after the end: %v, want none", err)
	}
}

// TestNoOpsSeed: up writes no key if it embeds no NATS server, and replaces none of bus-config.
func TestNoOpsSeed(t *testing.T) {
	t.Parallel()
	n, dir := startRestrictedBroker(t, "A")
	data, temporary := filepath.Join(t.TempDir(), "data"), t.TempDir()
	h := startUp(t, "A", "HERD_NATS_URL="+n.url, "HERD_NATS_SEED="+dir, "HERD_DATA_DIR="+data, "TMPDIR="+temporary)
	out := h.stdout.await(t, `(?s)^.*Ctrl-C stops`)[0]
	if _, err := os.Stat(data); !os.IsNotExist(err) || strings.Contains(out, "HERD_NATS_SEED") {
		t.Errorf("%s: %v, want no such directory; the banner is\n%s", data, err, out)
	}
	if files, err := os.ReadDir(temporary); err != nil || len(files) > 0 {
		t.Errorf("%s holds %v, %v, want nothing", temporary, files, err)
	}
	h.stop()

	before := readSeed(t, dir, access.OpsUser)
	exit, out := outcome(t, append([]string{"HERD_TOPOLOGY=A", "HERD_DATA_DIR=" + dir}, anyPorts...), "up")
	if exit != exitUsage || contains(out, fmt.Sprintf("HERD_DATA_DIR: %s holds keys of bus-config: name another directory", dir)) != nil {
		t.Errorf("up in a directory of bus-config: exit status %d, %s", exit, out)
	}
	if now := readSeed(t, dir, access.OpsUser); now != before {
		t.Error("up has replaced the operators' key of bus-config")
	}
}

func readSeed(t *testing.T, dir, user string) string {
	t.Helper()
	seed, err := os.ReadFile(keydir.SeedFile(dir, user))
	if err != nil {
		t.Fatal(err)
	}
	return string(seed)
}

// TestUserOfCommands: of a key directory, commands that change nothing use the key of ops or, if
// it is not there, that of guest; reload uses that of ops.
func TestUserOfCommands(t *testing.T) {
	t.Parallel()
	n, dir := startRestrictedBroker(t, "A-B")
	_, address := serveOn(t, n.url, "A-B", dir, "A")
	serveOn(t, n.url, "A-B", dir, "B")
	awaitInStep(t, n.url, "A-B", dir)
	dial(t, address).ask("IAMAT kiwi +1+1 5")
	guests := t.TempDir()
	if err := os.WriteFile(keydir.SeedFile(guests, access.GuestUser), []byte(readSeed(t, dir, access.GuestUser)), 0o600); err != nil {
		t.Fatal(err)
	}
	ops := t.TempDir()
	if err := os.WriteFile(keydir.SeedFile(ops, access.OpsUser), []byte(readSeed(t, dir, access.OpsUser)), 0o600); err != nil {
		t.Fatal(err)
	}
	const missing = "HERD_NATS_SEED: open %s/ops.nk: no such file"
	for _, tt := range []struct {
		seed string
		args []string
		exit int
		out  string
	}{
		{ops, []string{"status"}, exitOK, "all edges in step"},
		{ops, []string{"reload"}, exitOK, "reloaded"},
		{guests, []string{"status"}, exitOK, "all edges in step"},
		{guests, []string{"get", "kiwi"}, exitOK, "every server has the same record"},
		{guests, []string{"reload"}, exitUsage, fmt.Sprintf(missing, guests)},
		{keydir.SeedFile(guests, access.GuestUser), []string{"status"}, exitOK, "all edges in step"},
		{keydir.SeedFile(guests, access.GuestUser), []string{"reload", "A"}, exitFailure, "reload: only operators may send this request: set HERD_NATS_SEED to their key"},
		{"", []string{"status"}, exitFailure, "set HERD_NATS_SEED to the key of an operator or a guest: …/ops.nk or …/guest.nk"},
		{"", []string{"get", "kiwi"}, exitFailure, "set HERD_NATS_SEED to the key of an operator or a guest: …/ops.nk or …/guest.nk"},
	} {
		exit, out := outcome(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + n.url, "HERD_NATS_SEED=" + tt.seed}, tt.args...)
		if exit != tt.exit || contains(out, tt.out) != nil {
			t.Errorf("%v with HERD_NATS_SEED=%s: exit status %d, %swant %d and %q", tt.args, tt.seed, exit, out, tt.exit, tt.out)
		}
	}
}
