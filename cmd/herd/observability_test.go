package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/bus/embed"
	"herd/node/status"
)

// What NATS tools show of a herd, and the debug log of a record.

// requestAll sends a request as the nats CLI does, with a default inbox, and returns the
// replies by server.
func requestAll(t *testing.T, nc *nats.Conn, subject, request string, servers int) map[string]*nats.Msg {
	t.Helper()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest(subject, inbox, []byte(request)); err != nil {
		t.Fatal(err)
	}
	answers := map[string]*nats.Msg{}
	for range servers {
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("%s: %v after %d replies", subject, err, len(answers))
		}
		answers[m.Header.Get("Herd-Server")] = m
	}
	return answers
}

// TestService: the replies of the micro service to NATS tools, with permissions.
func TestService(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C")
	nc, err := nats.Connect(h.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi\xff +1+1 5")
	awaitAgreement(t, "kiwi\xff", record, h.addresses...)
	names := h.graph.Servers()

	for request, want := range map[string]struct{ code, text string }{
		"kiwi\xff":      {"", record},
		" kiwi\xff\r\n": {"", record},
		"emu\n":         {"404", `unknown: no client "emu"`},
		"":              {"400", "the request is empty: it must be a client's ID"},
	} {
		answers := requestAll(t, nc, "herd.get", request, len(names))
		for _, name := range names {
			m := answers[name]
			if m == nil {
				t.Fatalf("get %q: no reply of %s in %v", request, name, answers)
			}
			if string(m.Data) != want.text || m.Header.Get(micro.ErrorCodeHeader) != want.code {
				t.Errorf("get %q: %s replies %q, code %q, want %q, %q", request, name, m.Data, m.Header.Get(micro.ErrorCodeHeader), want.text, want.code)
			}
		}
	}

	edges := string(requestAll(t, nc, "herd.edges", "", len(names))["B"].Data)
	for _, line := range []string{
		`^EDGE +STATE +WAITING +SENT +NEWS +DUPLICATE +STALE +LOST +REPAIRS +REPAIRED\n`,
		`(?m)^B-A +in step +0 +0 +1 +0 +0 +0 +\d+ +0$`,
		`(?m)^B-C +in step +0 +1 +0 +0 +0 +0 +\d+ +0$`,
	} {
		if !regexp.MustCompile(line).MatchString(edges) {
			t.Errorf("edges of B have no %s:\n%s", line, edges)
		}
	}

	var info micro.Info
	eventually(t, func() error { // near comes when the server is ready
		infos := requestAll(t, nc, "$SRV.INFO.herd", "", 1)
		info = micro.Info{}
		if err := json.Unmarshal(infos[""].Data, &info); err != nil || len(info.Endpoints) < len(status.Endpoints) {
			return fmt.Errorf("info: %v, %s", err, infos[""].Data)
		}
		return nil
	})
	about := info.Metadata
	if place := slices.Index(names, about["server"]); place < 0 || about["clients"] != h.addresses[place] ||
		about["neighbours"] != strings.Join(h.graph.Neighbours(about["server"]), " ") || about["epoch"] == "" {
		t.Errorf("info: %v", about)
	}
	var endpoints []string
	for _, e := range info.Endpoints {
		if one := e.Name == "near" || e.Name == "restore"; one != (e.QueueGroup != "") {
			t.Errorf("endpoint %s has queue group %q: whether only one server replies is %v, want %v", e.Name, e.QueueGroup, e.QueueGroup != "", one)
		}
		endpoints = append(endpoints, e.Name+" "+e.Subject)
	}
	if want := []string{
		"dump herd.dump." + about["server"], "edges herd.edges", "follow herd.follow." + about["server"], "forget herd.forget", "get herd.get",
		"reload herd.reload." + about["server"], "status herd.status", "near herd.near", "restore herd.restore", // the last two when it is ready
	}; !slices.Equal(endpoints, want) {
		t.Errorf("endpoints %v, want %v", endpoints, want)
	}
	var stats micro.Stats
	if err := json.Unmarshal(requestAll(t, nc, "$SRV.STATS.herd", "", 1)[""].Data, &stats); err != nil {
		t.Fatal(err)
	}
	for _, e := range stats.Endpoints {
		if e.Name == "get" && (e.NumRequests != 4 || e.NumErrors != 2) {
			t.Errorf("stats of get: %d requests and %d errors, want 4 and 2", e.NumRequests, e.NumErrors)
		}
	}
	h.stop()
}

// TestEvents: the text of each kind of event.
func TestEvents(t *testing.T) {
	t.Parallel()
	open, err := embed.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(open.Shutdown)
	taps := startTap(t, open.URL())
	awaitEvent := func(subject, text string) (match []string) {
		t.Helper()
		line := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z ` + strings.Split(subject, ".")[0] + `: ` + text + `$`)
		eventually(t, func() error {
			taps.mu.Lock()
			defer taps.mu.Unlock()
			if match = line.FindStringSubmatch(taps.events["herd.event."+subject]); match == nil {
				return fmt.Errorf("no %q on %s in %q", text, subject, taps.events)
			}
			return nil
		})
		return match
	}
	data := t.TempDir()
	serve := func(name string, env ...string) (p *program, address string) {
		return serveOn(t, open.URL(), "A-B", "", name, env...)
	}
	journal := []string{"HERD_JOURNAL=ack", "HERD_DATA_DIR=" + data}

	a, addressA := serve("A")
	b, addressB := serve("B", journal...)
	awaitEvent("A.start", `started, epoch \d+`)
	epoch := awaitEvent("B.start", `started, epoch (\d+)`)[1]
	awaitEvent("A.up.B", `B is up and holds 0 records`)
	awaitEvent("B.up.A", `A is up and holds 0 records`)

	record := dial(t, addressA).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, addressB)
	a.stop()
	awaitEvent("A.stop", "stopping")
	awaitEvent("B.down.A", "A is down: it stopped; 0 records are queued for it")
	serve("A")
	awaitEvent("A.repair.B", `compared with B because it came up: received 1 line, 1 of them news; \d+ bytes in \d+m?s`)

	// From here on the test publishes messages of B, which keys would prevent.
	nc, err := nats.Connect(open.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	publish := func(subject, text string, header nats.Header) {
		t.Helper()
		if err := nc.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(text), Header: header}); err != nil {
			t.Fatal(err)
		}
	}
	beats, err := nc.SubscribeSync("herd.beat.B.A")
	if err != nil {
		t.Fatal(err)
	}
	beat, err := beats.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	publish("herd.edge.B.A", "junk", nil)
	awaitEvent("A.mismatch.B", `dropped 1 malformed line from B, the last: "junk"`)
	publish("herd.edge.B.A", record, nats.Header{"Nats-Sequence": {"1"}})
	awaitEvent("A.denied.B", `denied: dropped a message on "herd.edge.B.A": its header Nats-Sequence shows that a broker made it`)
	ahead := fmt.Sprintf("clock=%d.000000000", time.Now().Unix()+100)
	publish("herd.beat.B.A", regexp.MustCompile(`clock=\S+`).ReplaceAllString(string(beat.Data), ahead), nil)
	awaitEvent("A.clock.B", `the clock of B differs from ours by 1m\S+s: one of the two is off`)
	publish("herd.edge.B.A", record, nats.Header{"Herd-Epoch": {epoch}, "Herd-Seq": {"100"}})
	awaitEvent("A.gap.B", `(99|100) messages of B were lost, the last before number 100`)
	awaitEvent("A.repair.B", `compared with B because messages were lost: received 0 lines, 0 of them news; \d+ bytes in \d+m?s`)

	b.stop()
	for _, name := range journalFiles(t, data, "B") {
		if err := os.Truncate(name, 10); err != nil {
			t.Fatal(err)
		}
	}
	serve("B", journal...)
	awaitEvent("B.journal", "the journal was damaged when it was opened: .+")
}

// TestTrace: the debug log follows a record through the whole herd.
func TestTrace(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C", "HERD_LOG_LEVEL=debug")
	c := dial(t, h.addresses[0])
	record := c.ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	line := ` line="` + regexp.QuoteMeta(record) + `"`
	for _, step := range []string{
		`msg="record from client" node=A client=` + regexp.QuoteMeta(c.conn.LocalAddr().String()) + ` outcome=news`,
		`msg="record out" node=A edge=B number=1`,
		`msg="record in" node=B edge=A number=1 outcome=news`,
		`msg="record out" node=B edge=C number=1`,
		`msg="record in" node=C edge=B number=1 outcome=news`,
	} {
		h.stderr.await(t, `level=DEBUG `+step+line)
	}
	c.ask("IAMAT kiwi +1+1 4")
	h.stderr.await(t, `msg="record from client" node=A client=\S+ outcome=stale line="AT A \S+ kiwi \+1\+1 4"`)
	h.stop()
	if strings.Contains(h.stderr.String(), "node=C edge=B number=2") {
		t.Error("a stale record was relayed")
	}
}
