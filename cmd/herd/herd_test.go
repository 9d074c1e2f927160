package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/url"
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

// tap listens to the subjects of a herd and counts what crosses the edges.
type tap struct {
	mu      sync.Mutex
	crossed map[string]int // "from to line"
	events  map[string]string
	headers []string // what was wrong with them
}

func tapBus(t *testing.T, natsURL string) *tap {
	t.Helper()
	nc, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	p := &tap{crossed: map[string]int{}, events: map[string]string{}}
	if _, err := nc.Subscribe("herd.>", p.hear); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *tap) hear(m *nats.Msg) {
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

// await waits until a record has crossed edges so many times, and returns how many it
// was then.
func (p *tap) await(t *testing.T, times int, record string) (crossed int) {
	t.Helper()
	for deadline := time.Now().Add(patience); crossed < times; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q crossed edges %d times, want %d", record, crossed, times)
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

// check reports what crossed where no edge is, or twice, and what of records did
// not cross at all.
func (p *tap) check(t *testing.T, g *topology.Graph, records []string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]bool{}
	for crossing, times := range p.crossed {
		f := strings.SplitN(crossing, " ", 3)
		seen[f[2]] = true
		if !g.Adjacent(f[0], f[1]) {
			t.Errorf("%q crossed from %s to %s, which no edge joins", f[2], f[0], f[1])
		}
		if times > 1 {
			t.Errorf("%q crossed from %s to %s %d times", f[2], f[0], f[1], times)
		}
	}
	for _, r := range records {
		if !seen[r] {
			t.Errorf("%q crossed no edge", r)
		}
	}
	if len(p.headers) > 0 {
		t.Errorf("messages without epoch and number: %q", p.headers)
	}
}

// TestHerds drives both herds, each server in turn, and looks at all of them and
// at the bus.
func TestHerds(t *testing.T) {
	for _, spec := range []string{"goloman", "riley"} {
		t.Run(spec, func(t *testing.T) {
			t.Parallel()
			h := startUp(t, spec)
			taps := tapBus(t, h.nats)
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

			// Half-close: an unterminated last line counts, and all replies come.
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

			if spec == "goloman" { // of whose edges two are the third sides of triangles at Goloman
				edges, fewest := len(h.graph.Edges()), math.MaxInt
				for _, r := range records[:3] {
					fewest = min(fewest, taps.await(t, edges, r))
				}
				if fewest > edges {
					t.Errorf("each of Goloman's records crossed edges %d times or more, want one for each of %d", fewest, edges)
				}
			}

			h.stop()
			taps.check(t, h.graph, records)
		})
	}
}

// TestWhatsAt: the same places at every server, in Google's format.
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
			t.Errorf("server %d answers\n%s\nthe first\n%s", i, reply.String(), first)
		}
	}
	line, object, _ := strings.Cut(first, "\n")
	if line != record {
		t.Errorf("the answer begins %q, want %q", line, record)
	}
	if !strings.HasSuffix(object, "}\n\n") || strings.Contains(strings.TrimSuffix(object, "\n\n"), "\n\n") {
		t.Errorf("the answer's newlines: %q", object)
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
		t.Errorf("answer %+v", answer)
	}
}

// TestPastedLine: the line that `herd up` prints works in a shell.
func TestPastedLine(t *testing.T) {
	t.Parallel()
	h := startUp(t, "riley")
	line := h.stdout.await(t, `Try:\n\n(.*)\n`)[1]
	c := dial(t, h.addresses[1]) // nc gives up after two seconds; loading the places takes longer where all is slow
	c.ask("IAMAT emu +1+1 1")
	c.ask("WHATSAT emu 1 1")
	out, err := pasteable(t, line)
	if err != nil {
		t.Skip(err)
	}
	if !regexp.MustCompile(`(?s)^AT Riley \S+ kiwi.* \d+\nAT Riley .*"status" : "OK"\n}\n\n$`).MatchString(out) {
		t.Errorf("%s\nprinted %q", line, out)
	}
}

// TestServe: servers in processes of their own, started in any order and before
// the bus, make the same herd, and go on when bus and neighbours come and go.
func TestServe(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	broker, err := embed.Start("127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	natsURL := broker.URL()
	broker.Shutdown() // the address is known, and nobody is there
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

	// A second process of a name finds the first, and ends.
	second := start(t, []string{"HERD_NATS_URL=" + natsURL, "HERD_OPS_LISTEN=off", "HERD_LISTEN=127.0.0.1:0"}, "serve", "Welsh")
	if got := second.status(); got != exitFailure || !strings.Contains(second.stderr.String(), "another process has this server's name") {
		t.Errorf("a second Welsh: exit status %d, %s", got, second.stderr.String())
	}

	// The bus goes away and comes back.
	stopBroker()
	for _, p := range processes {
		p.stderr.await(t, `msg="bus away"`)
	}
	away := dial(t, addresses["Hands"]).ask("IAMAT kiwi +1+1 101")
	stopBroker = restart()
	awaitAgreement(t, "kiwi", away, all(servers...)...)

	// A neighbour is killed and comes back; the others go on, and tell it what it
	// missed while it was down.
	processes["Holiday"].signal(syscall.SIGKILL)
	processes["Holiday"].status()
	without := dial(t, addresses["Goloman"]).ask("IAMAT kiwi +1+1 102")
	awaitAgreement(t, "kiwi", without, all("Goloman", "Hands", "Wilkes")...)
	processes["Welsh"].stderr.await(t, `Holiday is down: it has been silent`)
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

// TestJunkOnTheBus: bytes that are no records kill nobody and are noticed, on a bus
// on which everybody may say everything.
func TestJunkOnTheBus(t *testing.T) {
	t.Parallel()
	open, err := embed.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(open.Shutdown)
	h := startUp(t, "A-B", "HERD_NATS_URL="+open.URL())
	taps := tapBus(t, h.nats)
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
		if text := taps.events["herd.event.A.mismatch.B"]; !strings.Contains(text, "of no format of ours") {
			return fmt.Errorf("events %q", taps.events)
		}
		return nil
	})
	h.stop()
}
