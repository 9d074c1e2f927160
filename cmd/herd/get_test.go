package main

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"herd/bus/embed"
	"herd/bus/printable"
)

// got is the output of `herd get --json`.
type got struct {
	Client       string
	ClientBase64 string `json:"client_base64"`
	Agree        bool
	Verdict      string
	Servers      []struct {
		Server       string
		Known        bool
		Record       string
		RecordBase64 string `json:"record_base64"`
		Error        string
	}
	Missing []string
}

func runGet(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	p := start(t, env, append([]string{"get"}, args...)...)
	status = p.status()
	return status, p.stdout.String(), p.stderr.String()
}

func getJSON(t *testing.T, env []string, args ...string) (status int, g got) {
	t.Helper()
	status, stdout, stderr := runGet(t, env, append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &g); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	return status, g
}

// TestGet: each server's record side by side, while all agree.
func TestGet(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C")
	env := []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + h.nats}
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1.5-2 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	status, stdout, stderr := runGet(t, env, "kiwi")
	difference := strings.Fields(record)[2]
	want := "client kiwi\n\nSERVER  RECEIVED BY  DIFFERENCE" + strings.Repeat(" ", len(difference)-len("DIFFERENCE")) + "  LOCATION  TIME\n"
	for _, server := range []string{"A", "B", "C"} {
		want += server + "       A            " + difference + "  +1.5-2    5\n"
	}
	want += "\n3 of 3 servers replied: every server has the same record\n"
	if status != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit status %d, %s\n%s\nwant\n%s", status, stderr, stdout, want)
	}
	if status, g := getJSON(t, env, "kiwi"); status != exitOK || !g.Agree || g.Client != "kiwi" || len(g.Servers) != 3 ||
		g.Servers[2].Server != "C" || !g.Servers[2].Known || g.Servers[2].Record != record || len(g.Missing) != 0 {
		t.Errorf("exit status %d, %+v", status, g)
	}

	// A client of any bytes.
	nasty := "a\x1b\xff.*.>"
	record = dial(t, h.addresses[1]).ask("IAMAT " + nasty + " +1+1 5")
	awaitAgreement(t, nasty, record, h.addresses...)
	if status, stdout, _ := runGet(t, env, nasty); status != exitOK || !printable.Is(strings.ReplaceAll(stdout, "\n", "")) || !strings.Contains(stdout, `client a\u001b\xff.*.>`) {
		t.Errorf("exit status %d, %q", status, stdout)
	}
	if status, g := getJSON(t, env, nasty); status != exitOK || g.ClientBase64 != "YRv/LiouPg==" || g.Servers[0].Record != "" || g.Servers[0].RecordBase64 == "" {
		t.Errorf("exit status %d, %+v", status, g)
	}

	// Nobody knows a client; a server of our topology is not there.
	if status, stdout, stderr := runGet(t, env, "emu"); status != exitFailure || strings.Count(stdout, "unknown") != 3 || stderr != "herd: get: no server knows the client\n" {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	status, stdout, stderr = runGet(t, []string{"HERD_TOPOLOGY=A-B,B-C,C-D", "HERD_NATS_URL=" + h.nats}, "kiwi")
	if status != exitFailure || !strings.Contains(stdout, "\nD       no reply\n\n3 of 4 servers replied: not every server replied\n") || stderr != "herd: get: not every server replied\n" {
		t.Errorf("exit status %d, %s%s", status, stdout, stderr)
	}
	for _, tt := range []struct {
		env    []string
		client string
		status int
		want   string
	}{
		{env, "a b", exitUsage, `"a b" is not a client's ID`},
		{env, "", exitUsage, `"" is not a client's ID`},
		{[]string{"HERD_NATS_URL=nats://127.0.0.1:1"}, "kiwi", exitFailure, "connection refused (is the herd running, and is HERD_NATS_URL the address of its NATS server?)"},
		{append(env, "HERD_PREFIX=other"), "kiwi", exitFailure, "set HERD_NATS_SEED to the key of an operator or a guest"},
	} {
		if status, stdout, stderr := runGet(t, tt.env, tt.client); status != tt.status || stdout != "" && tt.status == exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("get %q: exit status %d, %s%s, want %q", tt.client, status, stdout, stderr, tt.want)
		}
	}
	h.stop()
}

// TestGetDiffering: records that differ are shown, and what is no record of the client does
// not count, nor does an error that somebody sends in place of a record.
func TestGetDiffering(t *testing.T) {
	t.Parallel()
	open, err := embed.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(open.Shutdown)
	env := []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + open.URL()}
	if status, stdout, stderr := runGet(t, env, "kiwi"); status != exitFailure || !strings.Contains(stderr, "no server replied: is the herd running") {
		t.Errorf("without servers: exit status %d, %s%s", status, stdout, stderr)
	}
	nc, err := nats.Connect(open.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	var records []string
	for _, name := range []string{"A", "B"} { // two herds of one
		_, address := serveOn(t, open.URL(), name, "", name)
		records = append(records, dial(t, address).ask("IAMAT kiwi +1+1 5"))
	}
	if _, err := nc.Subscribe("herd.get", func(m *nats.Msg) {
		for _, forged := range []struct{ server, line, code string }{
			{"", records[0], ""}, {"B", "AT B +1.000000000 emu +1+1 5", ""}, {"B", "junk", ""}, {"B", "", ""},
			{"B", "AT B +1.000000000 kiwi +1+1 5\nAT B", ""}, {"evil", "", "429"}, {"A", "", "503"}, {"", "", "429"},
		} {
			header := nats.Header{"Herd-Server": {forged.server}}
			if forged.code != "" {
				header.Set("Nats-Service-Error-Code", forged.code)
				header.Set("Nats-Service-Error", "forged")
			}
			nc.PublishMsg(&nats.Msg{Subject: m.Reply, Data: []byte(forged.line), Header: header})
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	status, g := getJSON(t, env, "kiwi")
	if status != exitFailure || g.Agree || g.Verdict != "the servers' records differ" || len(g.Servers) != 2 || g.Servers[0].Record != records[0] || g.Servers[1].Record != records[1] {
		t.Errorf("exit status %d, %+v, want the records %q", status, g, records)
	}
}

// TestGetRefused: the records of the other servers are shown if one replies with an error.
func TestGetRefused(t *testing.T) {
	t.Parallel()
	open, err := embed.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(open.Shutdown)
	nc, err := nats.Connect(open.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	record := "AT B +1.000000000 kiwi +1+1 5"
	if _, err := nc.Subscribe("herd.get", func(m *nats.Msg) {
		nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{
			"Herd-Server": {"A"}, "Nats-Service-Error-Code": {"429"}, "Nats-Service-Error": {"busy: ask again later"},
		}})
		nc.PublishMsg(&nats.Msg{Subject: m.Reply, Data: []byte(record), Header: nats.Header{"Herd-Server": {"C"}}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	env := []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + open.URL()}
	status, stdout, stderr := runGet(t, env, "kiwi")
	want := `client kiwi

SERVER  RECEIVED BY            DIFFERENCE    LOCATION  TIME
A       busy: ask again later
B       no reply
C       B                      +1.000000000  +1+1      5

2 of 3 servers replied: not every server could answer
`
	if status != exitFailure || stdout != want || stderr != "herd: get: not every server could answer\n" {
		t.Errorf("exit status %d, %s\n%s\nwant\n%s", status, stderr, stdout, want)
	}
	status, g := getJSON(t, env, "kiwi")
	if status != exitFailure || len(g.Servers) != 2 || g.Servers[0].Server != "A" || g.Servers[0].Error != "busy: ask again later" || g.Servers[1].Record != record || len(g.Missing) != 1 || g.Missing[0] != "B" {
		t.Errorf("exit status %d, %+v", status, g)
	}
}
