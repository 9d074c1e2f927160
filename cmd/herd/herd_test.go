package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus/embed"
	"herd/bus/topology"
)

// upHerd is `herd up` as a process.
type upHerd struct {
	*program
	graph     *topology.Graph
	addresses []string // clients', in the topology's order
	nats      string   // URL
	ops       string   // URL
}

func startUp(t *testing.T, spec string, env ...string) upHerd {
	t.Helper()
	graph, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	h := upHerd{program: start(t, append(append([]string{"HERD_TOPOLOGY=" + spec}, anyPorts...), env...), "up"), graph: graph}
	h.nats = h.stdout.await(t, `on bus (nats://\S+)`)[1]
	h.ops = h.stdout.await(t, `operators: (http://[^/]+)/`)[1]
	for _, name := range graph.Servers() {
		h.addresses = append(h.addresses, h.stdout.await(t, `(?m)^`+name+` +(127\S+)`)[1])
	}
	return h
}

// tap subscribes to all subjects of a herd and counts the records on its edges.
type tap struct {
	mu      sync.Mutex
	crossed map[string]int    // by "from to line"
	events  map[string]string // the last, by subject
	headers []string          // messages on edges without the headers of a record
}

func startTap(t *testing.T, natsURL string) *tap {
	t.Helper()
	nc, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	p := &tap{crossed: map[string]int{}, events: map[string]string{}}
	if _, err := nc.Subscribe("herd.>", p.record); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *tap) record(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := strings.Split(m.Subject, ".")
	switch f[1] {
	case "edge":
		if m.Header.Get("Herd-Epoch") == "" || m.Header.Get("Herd-Seq") == "" {
			p.headers = append(p.headers, fmt.Sprint(m.Subject, m.Header))
		}
		for line := range strings.Lines(string(m.Data)) {
			p.crossed[f[2]+" "+f[3]+" "+strings.TrimSuffix(line, "\n")]++
		}
	case "event":
		p.events[m.Subject] = string(m.Data)
	}
}

// await waits until a record has been sent over edges a number of times, and returns the
// number at that time.
func (p *tap) await(t *testing.T, times int, record string) (crossed int) {
	t.Helper()
	for deadline := time.Now().Add(patience); crossed < times; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was sent over edges %d times, want %d", record, crossed, times)
		}
		crossed = 0
		p.mu.Lock()
		for crossing, n := range p.crossed {
			if strings.HasSuffix(crossing, " "+record) {
				crossed += n
			}
		}
		p.mu.Unlock()
	}
	return crossed
}

// check reports records that were sent where the topology has no edge, or twice over one
// edge, and those of records that were not sent at all.
func (p *tap) check(t *testing.T, g *topology.Graph, records []string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]bool{}
	for crossing, times := range p.crossed {
		f := strings.SplitN(crossing, " ", 3)
		seen[f[2]] = true
		if !g.Adjacent(f[0], f[1]) {
			t.Errorf("%q was sent from %s to %s, which are not neighbours", f[2], f[0], f[1])
		}
		if times > 1 {
			t.Errorf("%q was sent from %s to %s %d times", f[2], f[0], f[1], times)
		}
	}
	for _, r := range records {
		if !seen[r] {
			t.Errorf("%q was sent over no edge", r)
		}
	}
	if len(p.headers) > 0 {
		t.Errorf("messages without epoch and sequence number: %q", p.headers)
	}
}

// TestFlooding: in both herds, a report to any server reaches all servers, over each
// edge at most once.
func TestFlooding(t *testing.T) {
	for _, spec := range []string{"goloman", "riley"} {
		t.Run(spec, func(t *testing.T) {
			t.Parallel()
			h := startUp(t, spec)
			taps := startTap(t, h.nats)
			var records []string
			for i, name := range h.graph.Servers() {
				c := dial(t, h.addresses[i])
				for n := range 3 {
					id := fmt.Sprintf("%s.%d.*.>\xff", name, n)
					said := fmt.Sprintf("%s +34.068930-118.445127 %d.5", id, time.Now().Unix()+int64(n))
					record := c.ask("IAMAT " + said)
					begin, ok := strings.CutSuffix(record, " "+said)
					if !ok || !regexp.MustCompile(`^AT `+name+` [+-]\d+\.\d{9}$`).MatchString(begin) {
						t.Fatalf("%s answered %q", name, record)
					}
					awaitAgreement(t, id, record, h.addresses...)
					records = append(records, record)
				}
			}

			// Half-close: a last line without a line end is a command, and all replies arrive.
			c := dial(t, h.addresses[0])
			c.send("what\xff \r\nIAMAT emu +1+1 1\nAT x\nWHATSAT emu 50 0")
			if err := c.conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			var replies []string
			for {
				line, err := c.r.ReadString('\n')
				if err != nil {
					break
				}
				replies = append(replies, line)
			}
			if len(replies) != 10 || replies[0] != "? what\xff \r\n" || replies[2] != "? AT x\n" || replies[1] != replies[3] || replies[9] != "\n" {
				t.Errorf("replies %q", replies)
			}
			records = append(records, strings.TrimSuffix(replies[1], "\n"))
			awaitAgreement(t, "emu", strings.TrimSuffix(replies[1], "\n"), h.addresses...)

			if spec == "goloman" { // Goloman is a corner of two triangles
				edges, fewest := len(h.graph.Edges()), math.MaxInt
				for _, r := range records[:3] {
					fewest = min(fewest, taps.await(t, edges, r))
				}
				if fewest > edges {
					t.Errorf("each of Goloman's records was sent over edges %d times or more, want one time for each of %d edges", fewest, edges)
				}
			}

			h.stop()
			taps.check(t, h.graph, records)
		})
	}
}

// TestWhatsAt: every server replies with the same places, in Google's format.
func TestWhatsAt(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	record := dial(t, h.addresses[3]).ask("IAMAT kiwi +34.068930-118.445127 1")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	var first string
	for i, address := range h.addresses {
		c := dial(t, address)
		c.send("WHATSAT kiwi 10 3\nend\n")
		var reply strings.Builder
		for line := c.line(); line != "? end"; line = c.line() {
			reply.WriteString(line + "\n")
		}
		if first == "" {
			first = reply.String()
		}
		if reply.String() != first {
			t.Errorf("server %d replies\n%s\nthe first\n%s", i, reply.String(), first)
		}
	}
	line, object, _ := strings.Cut(first, "\n")
	if line != record {
		t.Errorf("the reply begins with %q, want %q", line, record)
	}
	if !strings.HasSuffix(object, "}\n\n") || strings.Contains(strings.TrimSuffix(object, "\n\n"), "\n\n") {
		t.Errorf("line ends of the reply: %q", object)
	}
	var answer struct {
		Results []struct {
			Name    string
			PlaceID string `json:"place_id"`
		}
		Status string
	}
	if err := json.Unmarshal([]byte(object), &answer); err != nil {
		t.Fatalf("%v: %s", err, object)
	}
	if len(answer.Results) != 3 || answer.Results[0].Name == "" || answer.Results[0].PlaceID == "" || answer.Status != "OK" {
		t.Errorf("places %+v", answer)
	}
}

// TestBannerCommands: the commands that `herd up` prints work in a shell, and every line of
// what it prints fits a terminal.
func TestBannerCommands(t *testing.T) {
	t.Parallel()
	h := startUp(t, "riley")
	lines := h.stdout.await(t, `(?s)until the herd stops:\n\n  ([^\n]* \\\n[^\n]*)\n\nTry:\n\n  ([^\n]*)\n  ([^\n]*)\n\nCtrl-C stops the herd.\n\n`)[1:]
	for line := range strings.Lines(h.stdout.String()) {
		if len(line) > 80 {
			t.Errorf("%q has more than 80 columns", line)
		}
	}
	if strings.HasPrefix(h.stdout.String(), "\n") || strings.Contains(h.stdout.String(), "herd of one") {
		t.Errorf("banner %q", h.stdout.String())
	}
	for i, want := range []string{`^(\w+: reloaded\n){5}$`, `^AT Riley \S+ kiwi \S+ \d+\n$`, `(?s)^AT Riley \S+ kiwi .*"status" : "OK"\n}\n\n$`} {
		variables, arguments, found := strings.Cut(" "+lines[i], " herd ")
		if !found {
			t.Errorf("%q does not run herd", lines[i])
		}
		line := variables + " " + os.Args[0] + " " + arguments
		shell := exec.Command("sh", "-c", line)
		shell.Env = command(t, asProgram, nil).Env
		out, err := shell.Output()
		if err != nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("%s\nprinted %q, %v", line, out, err)
		}
	}
}

// TestIgnoredVariables: up with a NATS server of its own warns of variables for another one.
func TestIgnoredVariables(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	busConfig(t, "A-B", keys)
	h := startUp(t, "A-B", "HERD_NATS_SEED="+keys, "HERD_NAME=A")
	h.stderr.await(t, `level=WARN msg="HERD_NAME is ignored: up runs all servers"`)
	h.stderr.await(t, `level=WARN msg="a variable for NATS is ignored: up starts a NATS server of its own unless HERD_NATS_URL is set" variable=HERD_NATS_SEED`)
	h.stop()
	h = startUp(t, "A-B")
	h.stop()
	if strings.Contains(h.stderr.String(), "is ignored") {
		t.Error(h.stderr.String())
	}
}

// TestForeignJournal: the journal of another herd is not taken over.
func TestForeignJournal(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	h := startUp(t, "A-B", "HERD_JOURNAL=ack", "HERD_DATA_DIR="+data)
	dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	h.stop()
	before, err := os.ReadFile(filepath.Join(data, "A", "manifest"))
	if err != nil {
		t.Fatal(err)
	}
	exit, out := outcome(t, append([]string{"HERD_TOPOLOGY=A-B", "HERD_PREFIX=other", "HERD_JOURNAL=ack", "HERD_DATA_DIR=" + data}, anyPorts...), "up")
	if exit != exitFailure || !strings.Contains(out, `another server's journal: it is that of server "A" with prefix "herd", not of server "A" with prefix "other"; the journal was left as it is: set HERD_PREFIX and HERD_DATA_DIR`) &&
		!strings.Contains(out, `another server's journal: it is that of server "B" with prefix "herd"`) {
		t.Errorf("exit status %d, %s", exit, out)
	}
	if after, err := os.ReadFile(filepath.Join(data, "A", "manifest")); err != nil || string(after) != string(before) {
		t.Errorf("the manifest was %q and is %q, %v", before, after, err)
	}
}

// TestHerdOfOne: a herd of one server says so.
func TestHerdOfOne(t *testing.T) {
	t.Parallel()
	h := startUp(t, "Solo")
	h.stdout.await(t, "(?m)^A herd of one server: the topology Solo is a single name, without edges.$")
	h.stderr.await(t, `level=INFO msg="a herd of one server: .*" node=Solo HERD_TOPOLOGY=Solo`)
	h.stop()
}

// TestQuietStop: Ctrl-C in a herd of one process is no trouble.
func TestQuietStop(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman", "HERD_LOG_LEVEL=info", "HERD_MAX_CONNS=1")
	h.stderr.await(t, `(?s)(?:msg=ready.*){5}`) // a slow start has warnings
	before := len(h.stderr.String())
	h.signal(os.Interrupt)
	if got, log := h.status(), h.stderr.String()[before:]; got != exitOK || strings.Contains(log, "level=WARN") || !strings.Contains(log, "msg=stopped") {
		t.Errorf("exit status %d, log\n%s", got, log)
	}
}

// TestNotReadyBanner: the banner says that NATS is not there, or that a key is missing.
func TestNotReadyBanner(t *testing.T) {
	t.Parallel()
	p := start(t, append([]string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=nats://127.0.0.1:1"}, anyPorts...), "up")
	p.stdout.await(t, `(?m)^Not ready yet: A: \S.* \(nor are 2 other servers\)\n\nTry:$`)
	p.stop()

	p = start(t, append([]string{"HERD_TOPOLOGY=A", "HERD_NATS_URL=nats://127.0.0.1:1"}, anyPorts...), "up")
	p.stdout.await(t, `(?m)^Not ready yet: A: [^()\n]+\n\nTry:$`)
	p.stop()

	other := startUp(t, "A-B") // its bus takes no messages of another herd
	p = start(t, append([]string{"HERD_TOPOLOGY=A-B", "HERD_PREFIX=other", "HERD_NATS_URL=" + other.nats}, anyPorts...), "up")
	p.stdout.await(t, `(?m)^Not ready yet: A: .* refuses .*; no key is set: see HERD_NATS_SEED \(nor is 1 other server\)\n\nTry:$`)
}

// TestServe: servers in separate processes, started in any order and before NATS, form a
// herd, and keep working while NATS or neighbours stop and start.
func TestServe(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	broker, err := embed.Start("127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	natsURL := broker.URL()
	broker.Shutdown() // its address is known, and free
	restart := func() func() {
		t.Helper()
		u, err := url.Parse(natsURL)
		if err != nil {
			t.Fatal(err)
		}
		var again *embed.Server
		eventually(t, func() error { again, err = embed.Start(u.Host, log); return err })
		stop := sync.OnceFunc(again.Shutdown)
		t.Cleanup(stop)
		return stop
	}

	servers := []string{"Wilkes", "Goloman", "Welsh", "Holiday", "Hands"}
	processes, addresses := map[string]*program{}, map[string]string{}
	serve := func(name string) {
		t.Helper()
		listen := "127.0.0.1:0"
		if addresses[name] != "" {
			listen = addresses[name]
		}
		p := start(t, []string{"HERD_NATS_URL=nats://127.0.0.1:1," + natsURL, "HERD_OPS_LISTEN=127.0.0.1:0", "HERD_LISTEN=" + listen}, "serve", name)
		processes[name] = p
		addresses[name] = p.stderr.await(t, `msg=listening .*clients=(\S+)`)[1]
	}
	all := func(names ...string) (a []string) {
		for _, name := range names {
			a = append(a, addresses[name])
		}
		return a
	}
	for _, name := range servers {
		serve(name)
	}
	before := dial(t, addresses["Welsh"]).ask("IAMAT kiwi +1+1 100")
	stopBroker := restart()
	awaitAgreement(t, "kiwi", before, all(servers...)...)

	// A second process with the same server name exits.
	second := start(t, []string{"HERD_NATS_URL=" + natsURL, "HERD_OPS_LISTEN=off", "HERD_LISTEN=127.0.0.1:0"}, "serve", "Welsh")
	if got := second.status(); got != exitFailure || !strings.Contains(second.stderr.String(), "another process has this server's name") {
		t.Errorf("a second Welsh: exit status %d, %s", got, second.stderr.String())
	}

	// NATS stops and starts.
	stopBroker()
	for _, p := range processes {
		p.stderr.await(t, `msg="NATS disconnected"`)
	}
	away := dial(t, addresses["Hands"]).ask("IAMAT kiwi +1+1 101")
	stopBroker = restart()
	awaitAgreement(t, "kiwi", away, all(servers...)...)

	// A neighbour is killed and starts again. The others keep working, and send it what
	// it missed.
	processes["Holiday"].signal(syscall.SIGKILL)
	processes["Holiday"].status()
	without := dial(t, addresses["Goloman"]).ask("IAMAT kiwi +1+1 102")
	awaitAgreement(t, "kiwi", without, all("Goloman", "Hands", "Wilkes")...)
	processes["Welsh"].stderr.await(t, `Holiday is down: no heartbeat`)
	down := dial(t, addresses["Welsh"]).ask("IAMAT kiwi +1+1 103")
	serve("Holiday")
	awaitAgreement(t, "kiwi", down, all(servers...)...)

	for _, p := range processes {
		p.signal(syscall.SIGINT)
	}
	for name, p := range processes {
		if got := p.status(); got != exitOK {
			t.Errorf("%s: exit status %d after SIGINT, want 0", name, got)
		}
	}
	stopBroker()
}

// TestMalformedMessages: malformed messages, on a bus without permissions, are reported
// and do no harm.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	open, err := embed.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(open.Shutdown)
	h := startUp(t, "A-B", "HERD_NATS_URL="+open.URL())
	taps := startTap(t, h.nats)
	nc, err := nats.Connect(h.nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, subject := range []string{"herd.edge.B.A", "herd.beat.B.A", "herd.name.A", "herd.edge.A.A", "herd.edge.B.A.x"} {
		for _, data := range []string{"", "\n\n\n", "\x00\xff\xfe", "AT", "AT B +1.000000000 k +1+1", "held", "claim 1 2 3", strings.Repeat("x", 1<<20-1000)} {
			m := &nats.Msg{Subject: subject, Data: []byte(data), Header: nats.Header{"Herd-Epoch": {"-1"}, "Herd-Seq": {"one"}}}
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := nc.Publish("herd.edge.B.A", []byte("junk\nAT B +1.000000000 kiwi +1+1 5\njunk")); err != nil {
		t.Fatal(err)
	}
	awaitAgreement(t, "kiwi", "AT B +1.000000000 kiwi +1+1 5", h.addresses[0])
	eventually(t, func() error {
		taps.mu.Lock()
		defer taps.mu.Unlock()
		if text := taps.events["herd.event.A.mismatch.B"]; !strings.Contains(text, "malformed lines") {
			return fmt.Errorf("events %q", taps.events)
		}
		return nil
	})
	h.stop()
}
