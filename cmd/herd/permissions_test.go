package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/bustest"
)

// A herd on a broker that enforces the topology, with keys, TLS and reloads.

// busConfig runs herd bus-config.
func busConfig(t testing.TB, spec, dir string, args ...string) string {
	t.Helper()
	p := start(t, []string{"HERD_TOPOLOGY=" + spec}, append([]string{"bus-config", dir}, args...)...)
	if got := p.status(); got != exitOK {
		t.Fatalf("bus-config: exit status %d: %s", got, p.stderr.String())
	}
	return p.stdout.String()
}

// startRestrictedBroker writes keys and a configuration to a new directory, and starts a
// broker with it.
func startRestrictedBroker(t *testing.T, spec string, args ...string) (n natsServer, dir string) {
	t.Helper()
	dir = t.TempDir()
	busConfig(t, spec, dir, append([]string{"--listen=" + freeAddress(t), "--monitor=" + freeAddress(t)}, args...)...)
	return startNATS(t, filepath.Join(dir, keydir.SingleConf)), dir
}

// serveOn starts one server of a herd, with its key in dir.
func serveOn(t *testing.T, url, spec, dir, name string, env ...string) (p *program, address string) {
	t.Helper()
	p = start(t, append([]string{"HERD_TOPOLOGY=" + spec, "HERD_NATS_URL=" + url, "HERD_NATS_SEED=" + dir,
		"HERD_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=off"}, env...), "serve", name)
	return p, p.stderr.await(t, `msg=listening .*clients=(\S+)`)[1]
}

// awaitInStep waits until `herd status`, with the operators' key, exits with 0.
func awaitInStep(t *testing.T, url, spec, dir string, env ...string) string {
	t.Helper()
	p := start(t, append([]string{"HERD_TOPOLOGY=" + spec, "HERD_NATS_URL=" + url, "HERD_NATS_SEED=" + dir}, env...), "status", "--wait", patience.String())
	if got := p.status(); got != exitOK {
		t.Fatalf("status: exit status %d: %s%s", got, p.stdout.String(), p.stderr.String())
	}
	return p.stdout.String()
}

// connectAs connects to a broker with a user's key in dir.
func connectAs(t *testing.T, url, dir, user string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(keydir.SeedFile(dir, user))
	if err != nil {
		t.Fatal(err)
	}
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	nc, err := nats.Connect(url, append([]nats.Option{key, quiet, nats.Name(user)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func contains(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("no %q in %q", part, text)
	}
	return nil
}

// TestReload: when a broker reloads what bus-config wrote, a new server gets access,
// edges are added and removed, a removed server loses access, and all other connections
// stay.
func TestReload(t *testing.T) {
	t.Parallel()
	n, dir := startRestrictedBroker(t, "A-B")
	address := []string{"--listen=" + strings.TrimPrefix(n.url, "nats://"), "--monitor=" + strings.TrimPrefix(n.monitor, "http://")}
	const spec = "A-B,B-C"
	busConfig(t, spec, dir, address...) // the broker has not reloaded yet
	a, addressA := serveOn(t, n.url, spec, dir, "A")
	b, _ := serveOn(t, n.url, spec, dir, "B")
	// C runs on another machine, with a copy of its seed.
	seed, err := os.ReadFile(keydir.SeedFile(dir, "C"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := keydir.SeedFile(t.TempDir(), "C")
	if err := os.WriteFile(elsewhere, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	c, addressC := serveOn(t, n.url, spec, elsewhere, "C")
	tap := connectAs(t, n.url, dir, access.OpsUser)
	events, err := tap.SubscribeSync("herd.event.B.denied.C")
	if err != nil {
		t.Fatal(err)
	}
	keptOff, err := tap.SubscribeSync("herd.event.C.denied")
	if err != nil {
		t.Fatal(err)
	}

	c.stderr.await(t, `msg=denied node=C text="denied: no access to NATS: nats: Authorization Violation"`)
	b.stderr.await(t, `msg=denied node=B text="denied: the broker says Permissions Violation for Subscription to \\"herd.edge.C.B\\"`)
	b.stderr.await(t, `msg=denied node=B text="denied: the broker says Permissions Violation for Publish to \\"herd.beat.B.C\\".*edge=C`)
	if m, err := events.NextMsg(patience); err != nil || contains(string(m.Data), " B: denied: the broker says Permissions Violation for ") != nil {
		t.Errorf("event of a denial: %v, %v", m, err)
	}
	record := dial(t, addressA).ask("IAMAT kiwi +1+1 5")
	before := n.connections()

	n.reload()
	awaitInStep(t, n.url, spec, dir)
	awaitAgreement(t, "kiwi", record, addressC)
	if m, err := keptOff.NextMsg(patience); err != nil || !regexp.MustCompile(`^\S+ C: denied: had no access to NATS for \d\S*s: nats: [Aa]uthorization [Vv]iolation$`).Match(m.Data) {
		t.Errorf("event of a server that was kept off: %v, %v", m, err)
	}
	eventually(t, func() error { return contains(n.subscriptions(), `"herd.edge.C.B"`) }) // B has asked for it again
	after := n.connections()
	for _, name := range []string{"herd/A", "herd/B", access.OpsUser} {
		if before[name] == 0 || before[name] != after[name] {
			t.Errorf("connection of %s had id %d, and %d after the reload", name, before[name], after[name])
		}
	}

	output := busConfig(t, "A-B", dir, address...)
	if err := contains(output, "C.nk       revoked: moved to C.nk.revoked"); err != nil {
		t.Error(err)
	}
	n.reload()
	eventually(t, func() error {
		return contains(c.stderr.String()[strings.LastIndex(c.stderr.String(), "msg=ready"):], "no access to NATS")
	})
	b.stderr.await(t, `for Subscription to \\"herd.edge.C.B\\" \(sid`)
	after = n.connections()
	for _, name := range []string{"herd/A", "herd/B", access.OpsUser} {
		if before[name] != after[name] {
			t.Errorf("connection of %s had id %d, and %d after the second reload", name, before[name], after[name])
		}
	}
	if after["herd/C"] != 0 {
		t.Error("C is still connected")
	}
	// C keeps trying, and logs this once.
	attempts := strings.Count(n.stderr.String(), "authentication error")
	eventually(t, func() error {
		if more := strings.Count(n.stderr.String(), "authentication error") - attempts; more < 10 {
			return fmt.Errorf("only %d more attempts", more)
		}
		return nil
	})
	if text := c.stderr.String(); strings.Count(strings.ToLower(text), "authorization violation") > 8 {
		t.Errorf("C logs every attempt:\n%s", text)
	}
	for _, p := range []*program{a, b, c} {
		p.signal(os.Kill) // a graceful stop would wait for edges to be in step
	}
}

// TestForgedSyncRequest: a server replies to a repair request in the inbox of the
// neighbour on whose subject it arrived, whatever reply subject it names.
func TestForgedSyncRequest(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C"
	n, dir := startRestrictedBroker(t, spec)
	tap := connectAs(t, n.url, dir, access.OpsUser)
	messages, err := tap.SubscribeSync("herd.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	_, addressB := serveOn(t, n.url, spec, dir, "B")
	_, addressC := serveOn(t, n.url, spec, dir, "C")
	record := dial(t, addressC).ask("IAMAT kiwi +1+1 5")
	a, addressA := serveOn(t, n.url, spec, dir, "A") // starts late, and requests what it is missing
	awaitAgreement(t, "kiwi", record, addressA)
	awaitInStep(t, n.url, spec, dir)
	var requests []*nats.Msg
	for len(requests) == 0 {
		m, err := messages.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "herd.sync.A.B" {
			requests = append(requests, m)
		}
	}
	a.stop()

	attacker := connectAs(t, n.url, dir, "A", nats.CustomInboxPrefix("_INBOX.A"))
	replies, err := attacker.SubscribeSync("_INBOX.A.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"herd.edge.B.C", "herd.beat.B.C", "_INBOX.C.B.answer"} {
		for _, q := range requests {
			m := nats.NewMsg(q.Subject)
			m.Data, m.Header, m.Reply = q.Data, q.Header, reply
			if err := attacker.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 * len(requests) {
		if m, err := replies.NextMsg(patience); err != nil || m.Subject != "_INBOX.A.B.answer" {
			t.Fatalf("reply %v, %v, want it in the inbox of A", m, err)
		}
	}
	// Forged messages would arrive before this record.
	last := dial(t, addressB).ask("IAMAT last +1+1 5")
	for {
		m, err := messages.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "herd.beat.B.C" && !bytes.HasPrefix(m.Data, []byte("epoch=")) {
			t.Errorf("forged heartbeat: %q", m.Data)
		}
		if m.Subject == "herd.edge.B.C" {
			if got := strings.TrimSuffix(string(m.Data), "\n"); got != last {
				t.Errorf("forged: %q", got)
			}
			break
		}
	}
}

// TestBusTrace: NATS reports to operators where it delivers the messages of an edge, on
// request of a server that may publish there, and of nobody else.
func TestBusTrace(t *testing.T) {
	t.Parallel()
	n, dir := startRestrictedBroker(t, "A-B")
	_, _ = serveOn(t, n.url, "A-B", dir, "A")
	b, _ := serveOn(t, n.url, "A-B", dir, "B")
	awaitInStep(t, n.url, "A-B", dir)
	traces, err := connectAs(t, n.url, dir, access.OpsUser).SubscribeSync("herd.event.*.trace")
	if err != nil {
		t.Fatal(err)
	}
	trace := func(user, only string) {
		t.Helper()
		nc := connectAs(t, n.url, dir, user)
		header := nats.Header{"Nats-Trace-Dest": {"herd.event.A.trace"}, "Nats-Trace-Only": {only}}
		if err := nc.PublishMsg(&nats.Msg{Subject: "herd.edge.A.B", Header: header, Data: []byte("traced by " + user)}); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
	}
	trace(access.OpsUser, "true")
	trace("B", "true")
	trace("A", "true")
	trace("A", "false") // is delivered too, and malformed
	b.stderr.await(t, `dropped 1 malformed line from A, the last: \\"traced by A`)
	for range 2 {
		m, err := traces.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{`"name":"A","acc":"HERD","subj":"herd.edge.A.B"`, `"name":"herd/B","sub":"herd.edge.A.B"`} {
			if err := contains(string(m.Data), part); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestUpWithoutKey: on the bus of up, clients without a key may read and send requests,
// and may not publish.
func TestUpWithoutKey(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	denied := make(chan error, 100)
	nc, err := nats.Connect(h.nats, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	taps := startTap(t, h.nats)
	subjects := []string{"herd.edge.A.B", "herd.beat.A.B", "herd.sync.A.B", "herd.name.A", "herd.event.A.up.B", "_INBOX.B.A.answer", "_INBOX.B.x"}
	const times = 100
	for range times {
		for _, subject := range subjects {
			if err := nc.Publish(subject, []byte("AT A +1.000000000 forged +1+1 5")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range times {
		for _, subject := range subjects {
			if err := contains((<-denied).Error(), `Permissions Violation for Publish to "`+subject+`"`); err != nil {
				t.Error(err)
			}
		}
	}
	h.stderr.await(t, `level=ERROR msg="nats-server error" text=".*Publish Violation - Subject \\"herd.edge.A.B`)
	if n := strings.Count(h.stderr.String(), "Publish Violation"); n > times {
		t.Errorf("%d denials are logged, want fewer than %d", n, times)
	}
	for _, subject := range []string{"herd.status", "$SRV.PING.herd"} {
		if m, err := nc.Request(subject, nil, patience); err != nil || len(m.Data) == 0 {
			t.Errorf("%s: %v, %v", subject, m, err)
		}
	}
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	if got := dial(t, h.addresses[1]).lookup("forged"); !strings.HasPrefix(got, "? ") {
		t.Errorf("B has the forged record: %s", got)
	}
	h.stop()
	taps.check(t, h.graph, []string{record})
}

// TestSeeds: if HERD_NATS_SEED is a directory that bus-config wrote, up uses the seed of
// each of its servers.
func TestSeeds(t *testing.T) {
	t.Parallel()
	n, dir := startRestrictedBroker(t, "A-B")
	h := startUp(t, "A-B", "HERD_NATS_URL="+n.url, "HERD_NATS_SEED="+dir)
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	awaitInStep(t, n.url, "A-B", dir)
	h.stop()

	// A server may not request the status of the herd.
	p := start(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + n.url, "HERD_NATS_SEED=" + keydir.SeedFile(dir, "A")}, "status")
	if got := p.status(); got != exitFailure || contains(p.stderr.String(), `status: denied: `) != nil {
		t.Errorf("status with a server's key: exit status %d, %s", got, p.stderr.String())
	}

	// With the seed of another server, all subjects of A are denied.
	wrong := start(t, append([]string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + n.url, "HERD_NATS_SEED=" + keydir.SeedFile(dir, "B")}, anyPorts...), "serve", "A")
	wrong.stderr.await(t, `msg=denied node=A .*herd.name.A`)
}

// TestMutualTLS: keys, TLS, and client certificates, as bus-config configures them.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n, dir := startRestrictedBroker(t, "A-B", "--tls-cert="+cert, "--tls-key="+key, "--tls-ca="+cert)
	with := []string{"HERD_NATS_CA=" + cert, "HERD_NATS_CERT=" + cert, "HERD_NATS_KEY=" + key}
	_, addressA := serveOn(t, n.url, "A-B", dir, "A", with...)
	without, _ := serveOn(t, n.url, "A-B", dir, "B", with[0])
	without.stderr.await(t, `msg=denied node=B text="denied: no access to NATS: .*tls.*(certificate required|bad certificate|closed by remote)`)
	without.signal(os.Kill)
	_, addressB := serveOn(t, n.url, "A-B", dir, "B", with...)
	record := dial(t, addressA).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, addressB)
	awaitInStep(t, n.url, "A-B", dir, with...)
}

// TestSystemUser: the system user can query the broker.
func TestSystemUser(t *testing.T) {
	t.Parallel()
	n, dir := startRestrictedBroker(t, "A-B")
	nc := connectAs(t, n.url, dir, access.SystemUser)
	if m, err := nc.Request("$SYS.REQ.SERVER.PING.CONNZ", nil, patience); err != nil || contains(string(m.Data), `"connections":`) != nil {
		t.Errorf("connections of the broker: %v, %v", m, err)
	}
}

// TestPublicPortWarning: at start, a process warns about public ports that need no
// authentication.
func TestPublicPortWarning(t *testing.T) {
	t.Parallel()
	quiet := startUp(t, "Solo")
	quiet.stop()
	if strings.Contains(quiet.stderr.String(), "is public") {
		t.Errorf("a warning about loopback:\n%s", quiet.stderr.String())
	}
	loud := start(t, []string{"HERD_TOPOLOGY=Solo", "HERD_LISTEN=127.0.0.1:0", "HERD_NATS_LISTEN=0.0.0.0:0", "HERD_OPS_LISTEN=off"}, "up")
	loud.stderr.await(t, `level=WARN msg="NATS port is public`)
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_LISTEN=0.0.0.0:0", "HERD_NATS_URL=nats://127.0.0.1:1", "HERD_OPS_LISTEN=off"}
	start(t, env, "serve", "Solo").stderr.await(t, `level=WARN msg="client port is public`)
	known := start(t, append(env, "HERD_NATS_URL=nats://me:secret@127.0.0.1:1"), "serve", "Solo")
	known.stderr.await(t, `msg=listening`)
	if strings.Contains(known.stderr.String(), "client port is public") {
		t.Error("a warning although the process authenticates to NATS")
	}
}
