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
	"herd/bus/bustest"
)

// A herd on a broker that holds it to its topology.

// busConfig runs herd bus-config.
func busConfig(t *testing.T, spec, dir string, args ...string) string {
	t.Helper()
	p := start(t, []string{"HERD_TOPOLOGY=" + spec}, append([]string{"bus-config", dir}, args...)...)
	if got := p.status(); got != exitOK {
		t.Fatalf("bus-config: exit status %d: %s", got, p.stderr.String())
	}
	return p.stdout.String()
}

// guardedBroker writes a configuration into a new directory and runs a broker with it.
func guardedBroker(t *testing.T, spec string, args ...string) (n natsServer, dir string) {
	t.Helper()
	dir = t.TempDir()
	busConfig(t, spec, dir, append([]string{"--listen=" + freeAddress(t), "--monitor=" + freeAddress(t)}, args...)...)
	return startNATS(t, filepath.Join(dir, soleConf)), dir
}

// serveOn runs one server of a herd with the seeds of dir.
func serveOn(t *testing.T, url, spec, dir, name string, env ...string) (p *program, address string) {
	t.Helper()
	p = start(t, append([]string{"HERD_TOPOLOGY=" + spec, "HERD_NATS_URL=" + url, "HERD_NATS_SEED=" + dir,
		"HERD_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=off"}, env...), "serve", name)
	return p, p.stderr.await(t, `msg=listening .*clients=(\S+)`)[1]
}

// awaitInStep waits until herd status, with the operators' key, says that all is well.
func awaitInStep(t *testing.T, url, spec, dir string, env ...string) string {
	t.Helper()
	p := start(t, append([]string{"HERD_TOPOLOGY=" + spec, "HERD_NATS_URL=" + url, "HERD_NATS_SEED=" + dir}, env...), "status", "--wait", patience.String())
	if got := p.status(); got != exitOK {
		t.Fatalf("status: exit status %d: %s%s", got, p.stdout.String(), p.stderr.String())
	}
	return p.stdout.String()
}

// as connects to a broker with a key of dir.
func as(t *testing.T, url, dir, user string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(seedFile(dir, user))
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

// TestReload: a broker that reads again what bus-config wrote lets in who is new,
// gives and takes edges, shuts out who is gone, and cuts nobody else's connection.
func TestReload(t *testing.T) {
	t.Parallel()
	n, dir := guardedBroker(t, "A-B")
	address := []string{"--listen=" + strings.TrimPrefix(n.url, "nats://"), "--monitor=" + strings.TrimPrefix(n.monitor, "http://")}
	const spec = "A-B,B-C"
	busConfig(t, spec, dir, address...) // which the broker has not read yet
	a, addressA := serveOn(t, n.url, spec, dir, "A")
	b, _ := serveOn(t, n.url, spec, dir, "B")
	// C is on a machine of its own, with a copy of its seed.
	seed, err := os.ReadFile(seedFile(dir, "C"))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := seedFile(t.TempDir(), "C")
	if err := os.WriteFile(elsewhere, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	c, addressC := serveOn(t, n.url, spec, elsewhere, "C")
	tap := as(t, n.url, dir, access.OpsUser)
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
	after := n.connections()
	for _, name := range []string{"herd/A", "herd/B", access.OpsUser} {
		if before[name] == 0 || before[name] != after[name] {
			t.Errorf("connection of %s was %d, and is %d after the reload", name, before[name], after[name])
		}
	}

	told := busConfig(t, "A-B", dir, address...)
	if err := contains(told, "C.nk       revoked: set aside as C.nk.revoked"); err != nil {
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
			t.Errorf("connection of %s was %d, and is %d after the second reload", name, before[name], after[name])
		}
	}
	if after["herd/C"] != 0 {
		t.Error("C is still connected")
	}
	// C goes on trying, and says so once.
	attempts := strings.Count(n.stderr.String(), "authentication error")
	eventually(t, func() error {
		if more := strings.Count(n.stderr.String(), "authentication error") - attempts; more < 10 {
			return fmt.Errorf("%d more attempts", more)
		}
		return nil
	})
	if text := c.stderr.String(); strings.Count(strings.ToLower(text), "authorization violation") > 6 {
		t.Errorf("C floods its log:\n%s", text)
	}
	for _, p := range []*program{a, b, c} {
		p.signal(os.Kill) // their edges are not in step, which a stop would wait for
	}
}

// TestForgedQuestion: a server answers a question of repair in the inbox of the
// neighbour whose subject it came on, whatever place the question names.
func TestForgedQuestion(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C"
	n, dir := guardedBroker(t, spec)
	tap := as(t, n.url, dir, access.OpsUser)
	said, err := tap.SubscribeSync("herd.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	_, addressB := serveOn(t, n.url, spec, dir, "B")
	_, addressC := serveOn(t, n.url, spec, dir, "C")
	record := dial(t, addressC).ask("IAMAT kiwi +1+1 5")
	a, addressA := serveOn(t, n.url, spec, dir, "A") // comes late, and asks for what it lacks
	awaitAgreement(t, "kiwi", record, addressA)
	awaitInStep(t, n.url, spec, dir)
	var questions []*nats.Msg
	for len(questions) == 0 {
		m, err := said.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "herd.sync.A.B" {
			questions = append(questions, m)
		}
	}
	a.stop()

	attacker := as(t, n.url, dir, "A", nats.CustomInboxPrefix("_INBOX.A"))
	answers, err := attacker.SubscribeSync("_INBOX.A.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"herd.edge.B.C", "herd.beat.B.C", "_INBOX.C.B.answer"} {
		for _, q := range questions {
			m := nats.NewMsg(q.Subject)
			m.Data, m.Header, m.Reply = q.Data, q.Header, place
			if err := attacker.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 * len(questions) {
		if m, err := answers.NextMsg(patience); err != nil || m.Subject != "_INBOX.A.B.answer" {
			t.Fatalf("answer %v, %v, want it in the inbox of A", m, err)
		}
	}
	// What was forged came before this.
	last := dial(t, addressB).ask("IAMAT last +1+1 5")
	for {
		m, err := said.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "herd.beat.B.C" && !bytes.HasPrefix(m.Data, []byte("epoch=")) {
			t.Errorf("forged beat: %q", m.Data)
		}
		if m.Subject == "herd.edge.B.C" {
			if got := strings.TrimSuffix(string(m.Data), "\n"); got != last {
				t.Errorf("forged: %q", got)
			}
			break
		}
	}
}

// TestBusTrace: NATS tells operators where it takes what a server says on an edge,
// and who has no right to speak there can't ask for that either.
func TestBusTrace(t *testing.T) {
	t.Parallel()
	n, dir := guardedBroker(t, "A-B")
	_, _ = serveOn(t, n.url, "A-B", dir, "A")
	b, _ := serveOn(t, n.url, "A-B", dir, "B")
	awaitInStep(t, n.url, "A-B", dir)
	traces, err := as(t, n.url, dir, access.OpsUser).SubscribeSync("herd.event.*.trace")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(user, only string) {
		t.Helper()
		nc := as(t, n.url, dir, user)
		header := nats.Header{"Nats-Trace-Dest": {"herd.event.A.trace"}, "Nats-Trace-Only": {only}}
		if err := nc.PublishMsg(&nats.Msg{Subject: "herd.edge.A.B", Header: header, Data: []byte("asked by " + user)}); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
	}
	ask(access.OpsUser, "true")
	ask("B", "true")
	ask("A", "true")
	ask("A", "false") // is delivered, as junk
	b.stderr.await(t, `lines from A, 1, the last \\"asked by A`)
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

// TestUpIsGuarded: on the bus of up, whoever comes without a key may read and ask,
// and not speak.
func TestUpIsGuarded(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	refused := make(chan error, 100)
	nc, err := nats.Connect(h.nats, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	taps := tapBus(t, h.nats)
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
			if err := contains((<-refused).Error(), `Permissions Violation for Publish to "`+subject+`"`); err != nil {
				t.Error(err)
			}
		}
	}
	h.stderr.await(t, `level=ERROR msg="nats: .*Publish Violation - Subject \\"herd.edge.A.B`)
	if told := strings.Count(h.stderr.String(), "Publish Violation"); told > times {
		t.Errorf("the log tells of %d refusals", told)
	}
	for _, question := range []string{"herd.status", "$SRV.PING.herd"} {
		if m, err := nc.Request(question, nil, patience); err != nil || len(m.Data) == 0 {
			t.Errorf("%s: %v, %v", question, m, err)
		}
	}
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	if got := dial(t, h.addresses[1]).where("forged"); !strings.HasPrefix(got, "? ") {
		t.Errorf("B has what was forged: %s", got)
	}
	h.stop()
	taps.check(t, h.graph, []string{record})
}

// TestSeeds: up takes a seed for each of its servers from the directory that
// bus-config wrote.
func TestSeeds(t *testing.T) {
	t.Parallel()
	n, dir := guardedBroker(t, "A-B")
	h := startUp(t, "A-B", "HERD_NATS_URL="+n.url, "HERD_NATS_SEED="+dir)
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	awaitInStep(t, n.url, "A-B", dir)
	h.stop()

	// A server has no need to ask, and may not.
	p := start(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + n.url, "HERD_NATS_SEED=" + seedFile(dir, "A")}, "status")
	if got := p.status(); got != exitFailure || contains(p.stderr.String(), `status: denied: `) != nil {
		t.Errorf("status with a server's key: exit status %d, %s", got, p.stderr.String())
	}

	// Another's seed is no help: it is refused on all that is A's.
	wrong := start(t, append([]string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + n.url, "HERD_NATS_SEED=" + seedFile(dir, "B")}, anyPorts...), "serve", "A")
	wrong.stderr.await(t, `msg=denied node=A .*herd.name.A`)
}

// TestMutualTLS: keys, TLS, and certificates of clients, as bus-config sets them up.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n, dir := guardedBroker(t, "A-B", "--tls-cert="+cert, "--tls-key="+key, "--tls-ca="+cert)
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

// TestSystemUser: who looks after the broker sees the broker, and nothing of the
// herd.
func TestSystemUser(t *testing.T) {
	t.Parallel()
	n, dir := guardedBroker(t, "A-B")
	nc := as(t, n.url, dir, access.SystemUser)
	if m, err := nc.Request("$SYS.REQ.SERVER.PING.CONNZ", nil, patience); err != nil || contains(string(m.Data), `"connections":`) != nil {
		t.Errorf("connections of the broker: %v, %v", m, err)
	}
}

// TestExposed: what can be reached from outside without being anybody to the broker
// is warned about at start.
func TestExposed(t *testing.T) {
	t.Parallel()
	quiet := startUp(t, "Solo")
	quiet.stop()
	if strings.Contains(quiet.stderr.String(), "level=WARN") {
		t.Errorf("a warning on loopback:\n%s", quiet.stderr.String())
	}
	loud := start(t, []string{"HERD_TOPOLOGY=Solo", "HERD_LISTEN=127.0.0.1:0", "HERD_NATS_LISTEN=0.0.0.0:0", "HERD_OPS_LISTEN=off"}, "up")
	loud.stderr.await(t, `level=WARN msg="the bus can be reached from outside`)
	env := []string{"HERD_TOPOLOGY=Solo", "HERD_LISTEN=0.0.0.0:0", "HERD_NATS_URL=nats://127.0.0.1:1", "HERD_OPS_LISTEN=off"}
	start(t, env, "serve", "Solo").stderr.await(t, `level=WARN msg="clients can come from outside`)
	known := start(t, append(env, "HERD_NATS_URL=nats://me:secret@127.0.0.1:1"), "serve", "Solo")
	known.stderr.await(t, `msg=listening`)
	if strings.Contains(known.stderr.String(), "clients can come from outside") {
		t.Error("a warning where the broker knows us")
	}
}
