package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"herd/bus/bustest"
	"herd/cmd/herdbench/rivals"
	"herd/cmd/internal/load"
)

// HostileResults is what a well-behaved client sees beside each attack.
type HostileResults struct {
	Attacks []*AttackResult   `json:"attacks"`
	Skipped map[string]string `json:"skipped,omitempty"` // attacks, and why
}

// AttackResult is one attack on the present build and, with --old, on an older one.
type AttackResult struct {
	Name    string       `json:"name"`
	Honest  string       `json:"honest"` // work that the client is compared beside
	Present AttackSample `json:"present"`
	Old     AttackSample `json:"old,omitzero"`
}

// AttackSample is a well-behaved client's latencies beside an attack on one build.
type AttackSample struct {
	P50, P99             float64 // µs, beside the attack
	HonestP50, HonestP99 float64 // µs, beside honest work
	Resident             int     // bytes, of the attacked server, at most
	Unread               int     // bytes of replies that the kernel keeps for its clients, at most
	Unanswered           int     // commands of the client
	Converged            float64 // ms until the neighbour has the client's last report; 0: it does not
	Refused              string  // what was refused and counted
}

// attack is one row of the table.
type attack struct {
	name   string
	kind   string // rivals.Attack
	conns  int
	honest string // busyMachine or quietMachine
	target func(*arena) string
	setUp  string // the arena: the environment of its herd
	lookup bool   // the client asks for places
	needs  string // a variable of the environment that the program must know
}

const (
	busyMachine  = "64 clients in turn"
	quietMachine = "nobody"
)

// Set-ups.
const (
	plainHerd   = "plain"
	hostileHerd = "a hostile neighbour"
	secureHerd  = "TLS"
	placesHerd  = "slow places"
	smallMap    = "a small map"
)

// hostileAttacks is all attacks. Those of one set-up share a herd, in this order, unless a
// neighbour attacks.
var hostileAttacks = []attack{
	{name: "1 flooder", kind: "flood", conns: 1, honest: busyMachine, setUp: plainHerd},
	{name: "8 flooders", kind: "flood", conns: 8, honest: busyMachine, setUp: plainHerd},
	{name: "64 flooders", kind: "flood", conns: 64, honest: busyMachine, setUp: plainHerd},
	{name: "8 x blank lines", kind: "blank", conns: 8, honest: busyMachine, setUp: plainHerd},
	{name: "8 x pipelined WHATSAT", kind: "whatsat", conns: 8, honest: busyMachine, setUp: plainHerd},
	{name: "1000 trickling", kind: "trickle", conns: 1000, honest: quietMachine, setUp: plainHerd},
	{name: "1000 that never read", kind: "unread", conns: 1000, honest: busyMachine, setUp: plainHerd},
	{name: "connection churn", kind: "churn", conns: 8, honest: busyMachine, setUp: plainHerd},
	{name: "status requests", kind: "status", conns: 2, honest: busyMachine, setUp: plainHerd, target: func(a *arena) string { return a.herd.Bus }},
	{name: "operators' HTTP", kind: "scrape", conns: 100, honest: busyMachine, setUp: plainHerd, target: func(a *arena) string { return a.herd.Ops[0] }},
	{name: "neighbour: requests of repair", kind: "requests", conns: 1, honest: busyMachine, setUp: hostileHerd, target: func(a *arena) string { return a.herd.Bus }},
	{name: "neighbour: the same records", kind: "repeats", conns: 1, honest: busyMachine, setUp: hostileHerd, target: func(a *arena) string { return a.herd.Bus }},
	{name: "neighbour: new clients", kind: "clients", conns: 1, honest: busyMachine, setUp: hostileHerd, target: func(a *arena) string { return a.herd.Bus }},
	{name: "1000 silent handshakes", kind: "handshakes", conns: 1000, honest: quietMachine, setUp: secureHerd},
	{name: "8 x TLS handshakes", kind: "tls", conns: 8, honest: quietMachine, setUp: secureHerd},
	{name: "600 places askers", kind: "places", conns: 600, honest: quietMachine, setUp: placesHerd, lookup: true, needs: "HERD_PROXY_PROTOCOL"},
	{name: "long ids", kind: "ids", conns: 2, honest: busyMachine, setUp: smallMap, needs: "HERD_MAX_MAP_BYTES"},
}

// attackHead is the time of an attack, in shares of --duration, before the client is
// measured.
const attackHead = 3

// hostile attacks one server of a herd of two, and measures a well-behaved client of it
// beside each attack.
func (b *bench) hostile(ctx context.Context) (*HostileResults, error) {
	r := &HostileResults{Skipped: map[string]string{}}
	programs := []string{b.New}
	if b.Old != "" {
		programs = append(programs, b.Old)
	}
	for i, program := range programs {
		build, err := b.newBuild(program, nil)
		if err != nil {
			return r, err
		}
		known, err := exec.CommandContext(ctx, build.lab.Herd, "env").Output()
		if err != nil {
			return r, fmt.Errorf("%s env: %w", build.lab.Herd, err)
		}
		var place *arena
		for _, a := range hostileAttacks {
			if len(b.Attacks) > 0 && !slices.Contains(b.Attacks, a.name) {
				continue
			}
			row := r.row(a)
			sample := []*AttackSample{&row.Present, &row.Old}[i]
			if a.needs != "" && !strings.Contains(string(known), a.needs) {
				sample.Refused = "skipped: the program has no " + a.needs
				continue
			}
			if place == nil || place.setUp != a.setUp || a.setUp == hostileHerd { // it would still be in quarantine
				place.stop()
				if place, err = b.newArena(ctx, build, a.setUp); err != nil {
					return r, fmt.Errorf("%s: %w", a.setUp, err)
				}
			}
			b.say("hostile: %s", a.name)
			if *sample, err = b.suffer(ctx, place, a); err != nil {
				place.stop()
				return r, fmt.Errorf("%s: %w", a.name, err)
			}
		}
		place.stop()
	}
	fmt.Fprint(b.out, "\n", r.table(b.Old != ""))
	return r, nil
}

func (r *HostileResults) row(a attack) *AttackResult {
	i := slices.IndexFunc(r.Attacks, func(row *AttackResult) bool { return row.Name == a.name })
	if i < 0 {
		i = len(r.Attacks)
		r.Attacks = append(r.Attacks, &AttackResult{Name: a.name, Honest: a.honest})
	}
	return r.Attacks[i]
}

func (r *HostileResults) table(old bool) string {
	t := table{head: []string{"beside", "compared beside", "p50 ms", "p99 ms", "p50 ratio", "p99 ratio"}}
	if old {
		t.head = append(t.head, "before: p50 ratio", "before: p99 ratio", "before: resident MB", "before: unread MB")
	}
	t.head = append(t.head, "resident MB", "unread MB", "unanswered", "neighbour has it after ms", "refused and counted")
	for _, a := range r.Attacks {
		n, o := a.Present, a.Old
		row := []string{a.Name, a.Honest, number(n.P50/1e3, 2), number(n.P99/1e3, 2), number(ratio(n.P50, n.HonestP50), 2), number(ratio(n.P99, n.HonestP99), 2)}
		if old {
			row = append(row, number(ratio(o.P50, o.HonestP50), 2), number(ratio(o.P99, o.HonestP99), 2), number(float64(o.Resident)/1e6, 0), number(float64(o.Unread)/1e6, 0))
		}
		t.rows = append(t.rows, append(row, number(float64(n.Resident)/1e6, 0), number(float64(n.Unread)/1e6, 0), number(float64(n.Unanswered), 0), number(n.Converged, 0), n.Refused))
	}
	return t.String()
}

// arena is a running herd of two servers, of which the first is attacked.
type arena struct {
	setUp  string
	lab    *rivals.Lab
	herd   *rivals.Herd
	source *http.Server // of places; nil for the built-in one
}

func (b *bench) newArena(ctx context.Context, build build, setUp string) (_ *arena, err error) {
	a := &arena{setUp: setUp, lab: build.lab}
	rival := rivals.Serve("herd", "").On("A-B").With("HERD_LOG_LEVEL=error", "HERD_WRITE_TIMEOUT=2s")
	switch setUp {
	case hostileHerd:
		rival.On(rivals.HostileTopology)
	case secureHerd:
		certFile, keyFile, err := bustest.WriteCertificate(b.lab.Dir)
		if err != nil {
			return nil, err
		}
		rival.Secure(certFile, keyFile)
	case placesHerd:
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		a.source = slowPlaces()
		go a.source.Serve(ln)
		rival.Proxied().With("HERD_PLACES=google", "HERD_PLACES_KEY=key", "HERD_PLACES_URL=http://"+ln.Addr().String())
	case smallMap:
		rival.With("HERD_MAX_MAP_BYTES=" + strconv.Itoa(64<<20))
	}
	if a.herd, err = rival.StartHerd(ctx, build.lab); err != nil {
		a.stop()
		return nil, err
	}
	if setUp == hostileHerd {
		a.herd.Server(2).Stop() // the attack takes its place
	}
	return a, nil
}

func (a *arena) stop() {
	if a == nil {
		return
	}
	if a.herd != nil {
		a.herd.Stop()
	}
	if a.source != nil {
		a.source.Close()
	}
}

// slowPlaces is a web service of places that takes half a second.
func slowPlaces() *http.Server {
	return &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Second / 2)
		fmt.Fprint(w, `{"html_attributions": [], "results": [], "status": "ZERO_RESULTS"}`)
	})}
}

// suffer measures the client beside honest work and then beside the attack.
func (b *bench) suffer(ctx context.Context, a *arena, what attack) (s AttackSample, err error) {
	address := a.herd.Addresses()[0]
	var honest, beside load.Histogram
	if what.honest == busyMachine {
		work, err := rivals.StartAttack(ctx, a.lab, rivals.Attack{Kind: "honest", Addr: address, Conns: 64, Proxy: a.setUp == placesHerd})
		if err != nil {
			return s, err
		}
		defer work.Stop()
		pause(ctx, b.Duration/attackHead)
		_, err = a.meter(ctx, what, b.Duration, &honest)
		work.Stop()
		if err != nil {
			return s, err
		}
	} else if _, err = a.meter(ctx, what, b.Duration, &honest); err != nil {
		return s, err
	}

	before, err := a.counters(ctx)
	if err != nil {
		return s, err
	}
	clients := address
	if what.target != nil {
		address = what.target(a)
	}
	attacker, err := rivals.StartAttack(ctx, a.lab, rivals.Attack{Kind: what.kind, Addr: address, Conns: what.conns, Proxy: a.setUp == placesHerd})
	if err != nil {
		return s, err
	}
	defer attacker.Stop()
	pause(ctx, b.Duration/attackHead)
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for watching.Err() == nil {
			if resident, err := a.herd.Server(0).Resident(); err == nil {
				s.Resident = max(s.Resident, resident)
			}
			s.Unread = max(s.Unread, unreadBytes(clients))
			pause(watching, 200*time.Millisecond)
		}
	}()
	last, err := a.meter(ctx, what, b.Duration, &beside)
	stopWatching()
	<-watched
	if err != nil {
		s.Unanswered++
	}
	if last != "" {
		s.Converged = a.awaitNeighbour(last)
	}
	attacker.Stop()
	after, err := a.counters(ctx)
	if err != nil {
		return s, err
	}
	s.Refused = difference(before, after)
	us := func(h *load.Histogram, q float64) float64 { return float64(h.Quantile(q)) / 1e3 }
	s.P50, s.P99, s.HonestP50, s.HonestP99 = us(&beside, .5), us(&beside, .99), us(&honest, .5), us(&honest, .99)
	return s, ctx.Err()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// meter is a well-behaved client: a command, its reply, a millisecond of rest. It returns
// the reply to its last report.
func (a *arena) meter(ctx context.Context, what attack, d time.Duration, latencies *load.Histogram) (last string, err error) {
	conn, err := a.herd.Dial(a.herd.Addresses()[0])
	if err != nil {
		return "", err
	}
	defer conn.Close()
	c := &client{conn, bufio.NewReader(conn)}
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, time.Millisecond) {
		began := time.Now()
		if last, err = c.send(update(began)); err != nil {
			return "", err
		}
		if what.lookup { // a question that no one has asked before
			began = time.Now()
			if _, err := c.send(fmt.Sprintf("WHATSAT lone %.9f 20", 41+float64(began.UnixNano()%1e9)/1e9)); err != nil {
				return last, err
			}
		}
		latencies.Record(time.Since(began), 1)
	}
	if latencies.Total() == 0 {
		return last, errors.New("no reply to a well-behaved client")
	}
	return last, nil
}

// awaitNeighbour is how many ms it takes until the second server has a record; 0 if it
// does not within 10 s.
func (a *arena) awaitNeighbour(record string) float64 {
	began := time.Now()
	conn, err := a.herd.Dial(a.herd.Addresses()[1])
	if err != nil {
		return 0
	}
	defer conn.Close()
	c := &client{conn, bufio.NewReader(conn)}
	for time.Since(began) < 10*time.Second {
		if held, err := c.send("WHATSAT lone 0 0"); err != nil {
			return 0
		} else if held == record {
			return float64(time.Since(began).Microseconds()) / 1e3
		}
	}
	return 0
}

// counted matches the metrics of what was refused, dropped or given up.
var counted = regexp.MustCompile(`(?m)^(herd_[a-z_]*(?:refused|refusals|offences|dropped|lost|abandoned|panics)[a-z_]*_total|herd_reports_total)\{([^}]*)\} ([0-9.e+]+)$`)

var reasonLabel = regexp.MustCompile(`reason="([^"]*)"`)

// counters is these metrics of the attacked server.
func (a *arena) counters(ctx context.Context) (map[string]float64, error) {
	var text []byte
	var err error
	for range 20 {
		if _, text, err = get(ctx, a.herd.Ops[0]+"/metrics"); err == nil && len(text) > 0 {
			break
		}
		pause(ctx, 250*time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for _, m := range counted.FindAllStringSubmatch(string(text), -1) {
		name := strings.TrimSuffix(strings.TrimPrefix(m[1], "herd_"), "_total")
		if name == "reports" {
			if !strings.Contains(m[2], `outcome="refused"`) {
				continue
			}
			name = "reports_refused"
		}
		if reason := reasonLabel.FindStringSubmatch(m[2]); reason != nil {
			name += " " + reason[1]
		}
		value, _ := strconv.ParseFloat(m[3], 64)
		values[name] += value
	}
	return values, nil
}

// difference is what has been counted between two readings.
func difference(before, after map[string]float64) string {
	var parts []string
	for name, value := range after {
		if d := value - before[name]; d > 0 {
			parts = append(parts, name+" "+number(d, 0))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// unreadBytes is the bytes that the kernel keeps at a server at a TCP address of 127.0.0.1:
// replies that clients have not taken, and commands that the server has not read; 0 where the
// kernel does not tell.
func unreadBytes(address string) (sum int) {
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0
	}
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	local := fmt.Sprintf("0100007F:%04X", number)
	for line := range strings.Lines(string(text)) { // number, local address, remote address, state, send queue:receive queue, …
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != local || f[3] == listening {
			continue
		}
		for queue := range strings.SplitSeq(f[4], ":") {
			bytes, _ := strconv.ParseInt(queue, 16, 64)
			sum += int(bytes)
		}
	}
	return sum
}

// listening is a state in /proc/net/tcp.
const listening = "0A"
