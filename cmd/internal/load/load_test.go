package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// herd is a hand-made herd whose servers share one map, and that lies as a test
// wants.
type herd struct {
	mu      sync.Mutex
	records map[string]string
	heard   int // commands of the load

	// lie, if not nil, makes of the right reply to the load's n-th command what is
	// sent; ok false closes the connection instead. The questions of observers
	// are n = 0.
	lie func(n int, server, reply string) (said string, ok bool)
}

const emptyAnswer = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"OK\"\n}\n\n"

// listen starts servers of the herd and returns their addresses.
func (h *herd) listen(t *testing.T, names ...string) (addresses []string) {
	t.Helper()
	h.records = map[string]string{}
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var sessions sync.WaitGroup
		sessions.Go(func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				sessions.Go(func() {
					defer conn.Close()
					defer context.AfterFunc(t.Context(), func() { conn.Close() })()
					h.serve(name, conn)
				})
			}
		})
		t.Cleanup(func() {
			ln.Close()
			sessions.Wait()
		})
		addresses = append(addresses, ln.Addr().String())
	}
	return addresses
}

func (h *herd) serve(name string, conn net.Conn) {
	r, w := bufio.NewReader(conn), bufio.NewWriter(conn)
	loading := false // the connection is one of the load, and not an observer's
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		loading = loading || f[0] == "IAMAT"
		h.mu.Lock()
		n := 0
		if loading {
			h.heard++
			n = h.heard
		}
		var reply string
		if f[0] == "IAMAT" {
			record := fmt.Sprintf("AT %s +0.000000%03d %s %s %s", name, n%1000, f[1], f[2], f[3])
			h.records[f[1]] = record
			reply = record + "\n"
		} else if record, ok := h.records[f[1]]; ok {
			reply = record + "\n" + emptyAnswer
		} else {
			reply = "? " + line
		}
		h.mu.Unlock()
		if h.lie != nil {
			var ok bool
			if reply, ok = h.lie(n, name, reply); !ok {
				w.Flush()
				return
			}
		}
		w.WriteString(reply)
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

// small is a load of a moment, on one connection.
func small(addresses ...string) Config {
	return Config{
		Addresses: addresses, First: true, Connections: 1, Pipeline: 16, Clients: 10, Name: "t",
		Duration: time.Minute, Count: 1000, Patience: time.Minute, Settle: time.Minute, Check: 1000,
	}
}

func mustRun(t *testing.T, cfg Config) Report {
	t.Helper()
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestHonest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		updates int
	}{
		{"one connection", func(c *Config) {}, 1000},
		{"one at a time", func(c *Config) { c.Pipeline = 1 }, 1000},
		{"all servers", func(c *Config) { c.First = false; c.Connections = 10; c.Pipeline = 3 }, 1000},
		{"questions", func(c *Config) { c.Asks = 0.25 }, 750},
		{"a ring that does not divide the count", func(c *Config) { c.Pipeline = 7 }, 1000},
		{"at a rate", func(c *Config) { c.Rate = 20_000; c.Connections = 3; c.Asks = 0.25 }, 750},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := &herd{}
			cfg := small(h.listen(t, "A", "B_2", "C")...)
			tt.change(&cfg)
			r := mustRun(t, cfg)
			if err := r.Fault(); err != nil {
				t.Errorf("Fault = %v\n%s", err, r.Text())
			}
			fractions := cfg.Connections - 1 // the share of questions is each connection's own
			if r.Commands != 1000 || r.Replies != 1000 || h.heard != 1000 || r.Updates < tt.updates || r.Updates > tt.updates+fractions {
				t.Errorf("%d sent, %d answered, %d updates; the server heard %d", r.Commands, r.Replies, r.Updates, h.heard)
			}
			if c := r.Check; c.Records != 10 || c.Servers != 3 || !r.Replication.All || r.Replicated() == 0 {
				t.Errorf("check %+v, replication %+v", c, r.Replication)
			}
			if n := r.Latencies.Total(); n != 1000 {
				t.Errorf("%d latencies", n)
			}
			checkFigures(t, r)
			if _, err := json.Marshal(&r); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkFigures checks that the figures of the servers, the buckets and the samples of a report
// add up.
func checkFigures(t *testing.T, r Report) {
	t.Helper()
	replies, latencies := 0, uint64(0)
	for i := range r.Servers {
		f := &r.Servers[i]
		if f.Address != r.Addresses[i] || f.Server != []string{"A", "B_2", "C"}[i] || !strings.Contains(r.Text(), "\n"+f.Server+" ") {
			t.Errorf("figures of %q at %s", f.Server, f.Address)
		}
		replies += f.Replies
		latencies += f.Latencies.Total()
	}
	if replies != r.Replies || latencies != r.Latencies.Total() || strings.Contains(r.Text(), "\nall ") != (len(r.Servers) > 1) {
		t.Errorf("the servers have %d replies and %d latencies:\n%s", replies, latencies, r.Text())
	}
	counted, end := 0, time.Duration(-1)
	for _, b := range r.Latencies.Buckets() {
		if b.From <= end || b.To < b.From {
			t.Errorf("a bucket from %v to %v, after %v", b.From, b.To, end)
		}
		counted += b.Count
		end = b.To
	}
	if counted != r.Replies || end != r.Latencies.Max() {
		t.Errorf("the buckets have %d replies, up to %v", counted, end)
	}
	last := Sample{}
	for _, s := range r.Samples {
		if s.Elapsed <= last.Elapsed || s.Replies < last.Replies {
			t.Errorf("sample %+v after %+v", s, last)
		}
		last = s
	}
	if last.Replies != r.Replies || last.Elapsed < r.Elapsed {
		t.Errorf("the last sample is %+v", last)
	}
}

// TestCountCoversClients: as many commands as clients report each of them once, as
// fast or slow as the connections are.
func TestCountCoversClients(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 100_000} {
		h := &herd{}
		cfg := small(h.listen(t, "A", "B")...)
		cfg.First, cfg.Connections, cfg.Rate = false, 7, rate
		cfg.Count, cfg.Clients = 1000, 1000
		r := mustRun(t, cfg)
		if r.Fault() != nil || r.Check.Of != 1000 || r.Check.Records != 1000 || len(h.records) != 1000 {
			t.Errorf("%v, check %+v, %d records", r.Fault(), r.Check, len(h.records))
		}
	}
}

// TestLies: each kind of lie is noticed, and said.
func TestLies(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) func(int, string, string) (string, bool) {
		return func(n int, _, reply string) (string, bool) {
			if n == 500 {
				return strings.Replace(reply, old, new, 1), true
			}
			return reply, true
		}
	}
	lastDigit := func(reply string, to string) string { return reply[:len(reply)-2] + to + "\n" }
	var held string
	for _, tt := range []struct {
		name   string
		change func(*Config)
		lie    func(n int, server, reply string) (string, bool)
		want   string // in the text of the report or of the fault
	}{
		{"another client", nil, replace("t.", "T."), "999 right, 1 wrong"},
		{"another time", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = lastDigit(reply, "x")
			}
			return reply, true
		}, "999 right, 1 wrong"},
		{"another server's name", nil, replace("AT A", "AT B"), "999 right, 1 wrong"},
		{"no name", nil, func(_ int, _, reply string) (string, bool) { return strings.Replace(reply, "AT A", "AT .", 1), true }, "gave up after 1"},
		{"a difference without its sign", nil, replace(" +0.", " 0."), "999 right, 1 wrong"},
		{"a difference with few decimals", nil, replace("+0.0", "+0."), "999 right, 1 wrong"},
		{"zero with a minus", nil, replace("+0.000000500", "-0.000000000"), "999 right, 1 wrong"},
		{"a leading zero", nil, replace("+0.", "+00."), "999 right, 1 wrong"},
		{"a space too many", nil, replace("AT A ", "AT A  "), "999 right, 1 wrong"},
		{"refused", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = "? no\n"
			}
			return reply, true
		}, `"? no\n"`},
		{"swapped", nil, func(n int, _, reply string) (string, bool) {
			switch n {
			case 500:
				held = reply
				return "", true
			case 501:
				return reply + held, true
			}
			return reply, true
		}, "998 right, 2 wrong"},
		{"one is missing", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = ""
			}
			return reply, true
		}, "gave up after 1"},
		{"the last is missing", func(c *Config) { c.Patience = time.Second }, func(n int, _, reply string) (string, bool) {
			if n == 1000 {
				reply = ""
			}
			return reply, true
		}, "no reply within 1s; unanswered commands on the connection: 1\n"},
		{"one too many", nil, func(n int, _, reply string) (string, bool) {
			if n == 1000 {
				reply += "hello\n"
			}
			return reply, true
		}, `"hello\n"`},
		{"closes early", nil, func(n int, _, reply string) (string, bool) { return reply, n != 500 }, "499 right, 0 wrong"},
		{"never answers", func(c *Config) { c.Patience = time.Second }, func(n int, _, reply string) (string, bool) {
			if n > 0 {
				reply = ""
			}
			return reply, true
		}, "no reply within 1s; unanswered commands on the connection: 16\n"},
		{"never answers at a rate", func(c *Config) { c.Patience = time.Second; c.Rate = 1e5; c.Count = 5 },
			func(int, string, string) (string, bool) { return "", true }, "no reply within 1s"},
		{"no end of a line", nil, func(n int, _, reply string) (string, bool) {
			if n == 500 {
				reply = strings.Repeat("x", 1<<20)
			}
			return reply, true
		}, "a reply of more than"},
		{"an answer that is no object", func(c *Config) { c.Asks = 0.5 }, func(n int, _, reply string) (string, bool) {
			return strings.Replace(reply, "{", "[", 1), true
		}, "gave up after 1"},
		{"an answer of another record", func(c *Config) { c.Asks = 0.5 }, func(n int, _, reply string) (string, bool) {
			if n == 500 { // a WHATSAT
				reply = strings.Replace(reply, "AT A +0.000000", "AT A +0.000001", 1)
			}
			return reply, true
		}, "999 right, 1 wrong"},

		// After the load; n is 0 then.
		{"a record lost at another server", func(c *Config) { c.Settle = 50 * time.Millisecond }, func(n int, server, reply string) (string, bool) {
			if server == "B" && strings.Contains(reply, " t.3 ") {
				reply = "? WHATSAT t.3 0 0\n"
			}
			return reply, true
		}, "records lost: 1"},
		{"a record differing", func(c *Config) { c.Settle = 50 * time.Millisecond }, func(n int, server, reply string) (string, bool) {
			if server == "B" && strings.Contains(reply, " t.3 ") {
				reply = strings.Replace(reply, "AT A", "AT B", 1)
			}
			return reply, true
		}, "0 lost, 1 differing, 0 late"},
		{"which is a fault", func(c *Config) { c.Settle = 50 * time.Millisecond }, func(n int, server, reply string) (string, bool) {
			if server == "B" && strings.Contains(reply, " t.3 ") {
				reply = strings.Replace(reply, "AT A", "AT B", 1)
			}
			return reply, true
		}, "records differing: 1"},
		{"not replicated", func(c *Config) { c.Settle, c.Check = 50*time.Millisecond, 0 }, func(n int, server, reply string) (string, bool) {
			if server == "B" {
				reply = strings.Replace(reply, "AT A", "AT B", 1)
			}
			return reply, true
		}, "did not reach every server"},
		{"the other server goes away", nil, func(n int, server, reply string) (string, bool) { return reply, server != "B" }, "reading a record: EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := &herd{lie: tt.lie}
			cfg := small(h.listen(t, "A", "B")...)
			if tt.change != nil {
				tt.change(&cfg)
			}
			r := mustRun(t, cfg)
			err := r.Fault()
			if err == nil {
				t.Fatalf("not noticed:\n%s", r.Text())
			}
			if text := r.Text() + err.Error(); !strings.Contains(text, tt.want) {
				t.Errorf("%s\nhas no %q", text, tt.want)
			}
			if !json.Valid(must(json.Marshal(&r))) {
				t.Error("no JSON")
			}
		})
	}
}

// TestLate: a record that comes late is looked at again, and reported.
func TestLate(t *testing.T) {
	t.Parallel()
	stale := map[string]bool{}
	var mu sync.Mutex
	h := &herd{lie: func(n int, server, reply string) (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if f := strings.Fields(reply); server == "B" && n == 0 && len(f) > 3 && !stale[f[3]] && f[3] == "t.3" {
			stale[f[3]] = true
			return "? not yet\n", true
		}
		return reply, true
	}}
	r := mustRun(t, small(h.listen(t, "A", "B")...))
	if err := r.Fault(); err != nil || r.Check.Late != 1 {
		t.Errorf("Fault = %v, %d late, want 1", err, r.Check.Late)
	}
}

// TestInterrupt: a load that is ended reports what it has.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 10_000} {
		ctx, cancel := context.WithCancel(t.Context())
		h := &herd{lie: func(n int, _, reply string) (string, bool) {
			if n == 500 {
				cancel()
			}
			return reply, true
		}}
		cfg := small(h.listen(t, "A")...)
		cfg.Count, cfg.Rate = MaxCount, rate
		r, err := Run(ctx, cfg)
		if err != nil || r.Fault() != nil || !r.Interrupted || r.Replies < 500 || r.Check != nil {
			t.Errorf("Run = %v, fault %v\n%s", err, r.Fault(), r.Text())
		}
	}
}

func TestDurationEndsIt(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 1000} {
		cfg := small((&herd{}).listen(t, "A")...)
		cfg.Count, cfg.Duration, cfg.Rate = MaxCount, 50*time.Millisecond, rate
		if r := mustRun(t, cfg); r.Fault() != nil || r.Elapsed < cfg.Duration || r.Interrupted {
			t.Errorf("%v\n%s", r.Fault(), r.Text())
		}
	}
}

// TestCoordinatedOmission: at a rate, a stall is charged with all that was due
// meanwhile.
func TestCoordinatedOmission(t *testing.T) {
	t.Parallel()
	const stall = 200 * time.Millisecond
	h := &herd{lie: func(n int, _, reply string) (string, bool) {
		if n == 100 {
			time.Sleep(stall) // the stall that is to be seen
		}
		return reply, true
	}}
	cfg := small(h.listen(t, "A")...)
	cfg.Rate, cfg.Count, cfg.Pipeline = 1000, 400, 1 // half of them are due while the server stalls
	r := mustRun(t, cfg)
	if r.Unsent != 0 {
		t.Errorf("%d unsent, although the bound in count ended it", r.Unsent)
	}
	if p := r.Latencies.Quantile(0.75); r.Fault() != nil || p < stall/4 {
		t.Errorf("three quarters of the replies within %v\n%s", p, r.Text())
	}
}

// TestUnsent: what a server has no room for is counted when the time is over.
func TestUnsent(t *testing.T) {
	t.Parallel()
	const duration = 200 * time.Millisecond
	h := &herd{lie: func(n int, _, reply string) (string, bool) {
		if n == 2 {
			time.Sleep(2 * duration) // beyond the end of the load, which has begun
		}
		return reply, true
	}}
	cfg := small(h.listen(t, "A")...)
	cfg.Rate, cfg.Count, cfg.Pipeline, cfg.Duration = 1000, MaxCount, 1, duration
	r := mustRun(t, cfg)
	if r.Fault() != nil || r.Commands != 2 || r.Unsent < 150 || !strings.Contains(r.Text(), "did not keep up") {
		t.Errorf("%d sent, %d not\n%s", r.Commands, r.Unsent, r.Text())
	}
}

func TestCannotBegin(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	for _, settle := range []time.Duration{0, time.Second} {
		cfg := small(ln.Addr().String())
		cfg.Settle = settle
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.Addresses[0]) {
			t.Errorf("Run = %v", err)
		}
	}
}

func TestValidate(t *testing.T) {
	bad := Config{Addresses: []string{"nowhere", "h:1", "h:1"}, Connections: 5, Clients: 2, Name: "a b", Asks: 2, Rate: -1, Settle: -1}
	err := bad.Validate()
	for _, want := range []string{`"nowhere"`, "h:1 is listed twice", "pipeline", "too few", "count", "name", "WHATSAT", "rate", "duration", "patience", "settle"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, which has no %q", err, want)
		}
	}
	if err := small("h:1").Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
}

func TestCommands(t *testing.T) {
	l := newFormat("x", 1000)
	line := make([]byte, l.length)
	l.write(line, command{client: 42, place: 1, stamp: 1621464827_059498503})
	if want := "IAMAT x.042 " + places[1] + " 1621464827.059498503\n"; string(line) != want {
		t.Errorf("%q, want %q", line, want)
	}
	if got, want := string(l.appendFields([]byte("-"), command{client: 42, place: 1, stamp: 5, ask: true})), "-x.042 "+places[1]+" 0000000000.000000005"; got != want {
		t.Errorf("fields %q, want %q", got, want)
	}
	l.write(line, command{client: 42, ask: true})
	if got := string(line); strings.TrimRight(got, " \n") != "WHATSAT x.042 0 0" || !strings.HasSuffix(got, " \n") {
		t.Errorf("%q", got)
	}
	for _, p := range places {
		if len(p) != placeLength {
			t.Errorf("place %q", p)
		}
	}
}

func TestDifference(t *testing.T) {
	for text, want := range map[string]int{
		"+0.000000000 x": 12, "-0.000000001": 12, "+12.345678901": 13, "-173850870.358627238 ": 20,
		"": 0, "0.000000000": 0, "x0.000000000": 0, "-0.000000000": 0, "+.000000000": 0, "+0.00000000": 0, "+0,000000000": 0,
		"+00.000000000": 0, "+0.0000000x0": 0, "+": 0, "+1": 0, "+0.00000000 ": 0,
	} {
		if got := differenceLength([]byte(text)); got != want {
			t.Errorf("differenceLength(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h, other Histogram
	if h.Quantile(.5) != 0 {
		t.Errorf("empty: %v", h.Quantile(.5))
	}
	for i := 1; i <= 10_000; i++ {
		one := &h
		if i%2 == 0 {
			one = &other
		}
		one.Record(time.Duration(i)*time.Microsecond, 1)
	}
	h.Add(&other)
	for q, want := range map[float64]time.Duration{0: time.Microsecond, .5: 5 * time.Millisecond, .99: 9900 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got := h.Quantile(q); got < want || got > want+want/64 {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
	for v := uint64(1); v < 1<<62; v = v*3/2 + 1 {
		i := bucket(v)
		if i < len(h.counts)-1 && (bucketEnd(i) < v || bucketEnd(i-1) >= v) {
			t.Errorf("%d is in the bucket from %d to %d", v, bucketEnd(i-1), bucketEnd(i))
		}
	}
}

// TestNoAllocations: a command costs no allocation.
func TestNoAllocations(t *testing.T) {
	h := &herd{}
	r := &run{cfg: small(h.listen(t, "A")...), ctx: t.Context()}
	r.format = newFormat(r.cfg.Name, r.cfg.Clients)
	c, err := r.dial(0, &target{address: r.cfg.Addresses[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer c.socket.Close()
	r.start = time.Now()
	c.prefix = []byte("AT A ")
	var replies []byte
	round := func() {
		c.prepare(16, 0, 0)
		replies = replies[:0]
		for line := range bytes.Lines(c.lines) {
			replies = append(append(replies, "AT A +0.000000001 "...), r.format.fields(line)...)
		}
		c.sent.Add(16)
		c.end = copy(c.in, replies)
		if err := c.check(0); err != nil || c.wrong > 0 || c.inFlight() > 0 {
			t.Fatal(err, c.wrong, c.inFlight())
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n > 0 {
		t.Errorf("%v allocations for 16 commands", n)
	}
}

// BenchmarkEcho is what the generator can do: against a server that does as little
// as one can, in the same process, all its processors shared.
func BenchmarkEcho(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go echo(conn)
		}
	}()
	cfg := small(ln.Addr().String())
	cfg.Connections, cfg.Pipeline, cfg.Count, cfg.Settle = 8, 64, max(8, b.N), 0
	b.ReportAllocs()
	report, err := Run(b.Context(), cfg)
	if err != nil || report.Fault() != nil {
		b.Fatal(err, report.Fault())
	}
	b.ReportMetric(report.Answered(), "commands/s")
}

func echo(conn net.Conn) {
	in, out := make([]byte, 64<<10), make([]byte, 0, 128<<10)
	end := 0
	for {
		n, err := conn.Read(in[end:])
		if err != nil {
			conn.Close()
			return
		}
		end += n
		rest := in[:end]
		for {
			i := bytes.IndexByte(rest, '\n') + 1
			if i == 0 {
				break
			}
			out = append(append(out, "AT A +0.000000001 "...), rest[len(iamat):i]...)
			rest = rest[i:]
		}
		end = copy(in, rest)
		conn.Write(out)
		out = out[:0]
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestInterruptedStart: a load that is interrupted before it begins reports what was configured,
// and no null in place of a list.
func TestInterruptedStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := small("127.0.0.1:1")
	report, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(&report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"servers":[]`, `"interrupted":true`, `"addresses":["127.0.0.1:1"]`, fmt.Sprintf(`"connections":%d,"pipeline":%d,"clients":%d`, cfg.Connections, cfg.Pipeline, cfg.Clients),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s has no %s", text, want)
		}
	}
}
