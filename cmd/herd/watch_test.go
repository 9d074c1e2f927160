package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"herd/bus/topology"
)

// livePage is what a page has heard of a herd.
type livePage struct {
	t   testing.TB
	url string // of the page

	mu      sync.Mutex
	hello   liveHello
	herd    liveHerd
	heard   time.Time // when the last state arrived
	events  []liveEvent
	hops    []liveHop
	tap     []bool
	silence time.Duration // the longest
	ended   error
}

type liveHello struct {
	Topology, Version string
	Controls, Report  bool
	Servers           []struct {
		Name, Clients string
		X, Y          float64
	}
	Edges []struct{ A, B string }
}

type liveHerd struct {
	At          int64
	Bus, BusWhy string
	Heard       *float64
	Servers     []liveServer
	Edges       []liveEdge
	Pairs       []struct {
		A, B  string
		Equal bool
		Ago   *float64
	}
	Differences []string
}

type liveServer struct {
	Name, State, Why, Digest         string
	Clients, Sessions                *int
	In, Out, LagMs, Heard, Heartbeat *float64
	Stopped                          bool
}

type liveEdge struct {
	A, B, State, Why                 string
	AB, BA, HeartbeatAB, HeartbeatBA *float64
}

type liveEvent struct {
	At                       int64
	Server, Kind, Peer, Text string
}

type liveHop struct {
	At                              int64
	From, To, Client, Client_Base64 string
	Lines                           int
}

// openPage opens the live stream of a page, until the test ends or leave is called.
func openPage(t testing.TB, url string) (p *livePage, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK {
		t.Fatalf("api/live: %s", reply.Status)
	}
	p = &livePage{t: t, url: url}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer reply.Body.Close()
		err := p.read(reply.Body)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ended = err
	}()
	leave = func() {
		cancel()
		<-done
	}
	t.Cleanup(leave)
	return p, leave
}

// read reads server-sent events until the stream ends.
func (p *livePage) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	kind, last := "", time.Now()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.silence = max(p.silence, time.Since(last))
		last = time.Now()
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			kind = name
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			err = p.take(kind, []byte(data))
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (p *livePage) take(kind string, data []byte) error {
	switch kind {
	case "hello":
		p.hello = liveHello{}
		return json.Unmarshal(data, &p.hello)
	case "herd":
		p.herd, p.heard = liveHerd{}, time.Now()
		return json.Unmarshal(data, &p.herd)
	case "event":
		var e liveEvent
		err := json.Unmarshal(data, &e)
		p.events = append(p.events, e)
		return err
	case "hop":
		var h liveHop
		err := json.Unmarshal(data, &h)
		p.hops = append(p.hops, h)
		return err
	case "tap":
		var tap struct{ Tap bool }
		err := json.Unmarshal(data, &tap)
		p.tap = append(p.tap, tap.Tap)
		return err
	}
	return fmt.Errorf("an event of kind %q: %s", kind, data)
}

// graph is the graph that the page was told last.
func (p *livePage) graph() liveHello {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hello
}

// await waits until check returns nil.
func (p *livePage) await(check func(*livePage) error) {
	p.t.Helper()
	eventually(p.t, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.ended != nil {
			return fmt.Errorf("the stream has ended: %w", p.ended)
		}
		return check(p)
	})
}

// awaitWell waits until all servers are up and in step.
func (p *livePage) awaitWell() {
	p.t.Helper()
	p.await(func(p *livePage) error {
		for _, s := range p.herd.Servers {
			if s.State != "up" {
				return fmt.Errorf("%+v", s)
			}
		}
		for _, e := range p.herd.Edges {
			if e.State != "in step" {
				return fmt.Errorf("%+v", e)
			}
		}
		if len(p.herd.Servers) == 0 || p.herd.Bus != "connected" {
			return errors.New("no server, or no bus")
		}
		return nil
	})
}

// awaitServer waits until a server is in a state.
func (p *livePage) awaitServer(name, state string) {
	p.t.Helper()
	p.await(func(p *livePage) error {
		if s := p.herd.server(name); s.State != state {
			return fmt.Errorf("%+v, want %s", s, state)
		}
		return nil
	})
}

// awaitEdge waits until an edge is in a state.
func (p *livePage) awaitEdge(a, b, state string) {
	p.t.Helper()
	p.await(func(p *livePage) error {
		if e := p.herd.edge(a, b); e.State != state {
			return fmt.Errorf("%+v, want %s", e, state)
		}
		return nil
	})
}

func (h liveHerd) server(name string) liveServer {
	if i := slices.IndexFunc(h.Servers, func(s liveServer) bool { return s.Name == name }); i >= 0 {
		return h.Servers[i]
	}
	return liveServer{}
}

func (h liveHerd) edge(a, b string) liveEdge {
	if i := slices.IndexFunc(h.Edges, func(e liveEdge) bool { return e.A == a && e.B == b || e.A == b && e.B == a }); i >= 0 {
		return h.Edges[i]
	}
	return liveEdge{}
}

// startWatch runs herd watch, and returns the page's URL.
func startWatch(t testing.TB, env ...string) (p *program, url string) {
	t.Helper()
	p = start(t, append([]string{"HERD_WATCH_LISTEN=127.0.0.1:0"}, env...), "watch")
	return p, strings.TrimSuffix(p.stdout.await(t, `^The page is at (http://\S+)/\n`)[1], "/")
}

// TestPageOfUp: the page of herd up shows its graph, its servers, and a report on its way over each edge.
func TestPageOfUp(t *testing.T) {
	t.Parallel()
	h := startUp(t, "goloman")
	if !strings.HasPrefix(h.stdout.String(), "See the herd at "+h.ops+"/\n") {
		t.Errorf("the output begins with %.80q, want the page's address", h.stdout.String())
	}
	page, _ := openPage(t, h.ops)
	page.awaitWell()
	page.await(func(p *livePage) error {
		if !slices.Contains(p.tap, true) {
			return errors.New("the edges are not tapped")
		}
		for i, s := range p.hello.Servers {
			if s.Name != h.graph.Servers()[i] || s.Clients != h.addresses[i] {
				return fmt.Errorf("%+v, want the server at %s", s, h.addresses[i])
			}
		}
		return nil
	})
	hello := page.graph()
	if hello.Topology != "goloman" || !hello.Controls || !hello.Report || len(hello.Servers) != 5 || len(hello.Edges) != 6 {
		t.Errorf("hello: %+v", hello)
	}
	nasty := "ki\xffwi"
	record := dial(t, h.addresses[3]).ask("IAMAT kiwi +34.07-118.45 5")
	dial(t, h.addresses[3]).ask("IAMAT " + nasty + " +34.07-118.45 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	page.await(func(p *livePage) error {
		crossed := map[string]bool{}
		for _, hop := range p.hops {
			if hop.Client == "kiwi" && hop.Lines >= 1 {
				crossed[hop.From+" "+hop.To] = true
			}
		}
		for _, want := range []string{"Welsh Holiday", "Holiday Goloman", "Holiday Wilkes"} {
			if !crossed[want] {
				return fmt.Errorf("%v, want %s", p.hops, want)
			}
		}
		if !slices.ContainsFunc(p.hops, func(hop liveHop) bool {
			return hop.Client_Base64 == "a2n/d2k="
		}) {
			return errors.New("no hop of the client whose name is not UTF-8")
		}
		for _, s := range p.herd.Servers {
			if s.Clients == nil || *s.Clients != 2 || s.Digest == "" || s.Heard == nil || *s.Heard > 3 || s.Heartbeat == nil || s.In == nil || s.Sessions == nil {
				return fmt.Errorf("%+v", s)
			}
			if s.Name != "Welsh" && s.LagMs == nil {
				return fmt.Errorf("%s has no lag", s.Name)
			}
		}
		for _, pair := range p.herd.Pairs {
			if !pair.Equal || pair.Ago == nil || *pair.Ago > 3 {
				return fmt.Errorf("%+v", pair)
			}
		}
		if len(p.herd.Pairs) != 10 || len(p.herd.Differences) > 0 {
			return fmt.Errorf("%+v", p.herd)
		}
		return nil
	})
	page.await(func(p *livePage) error {
		if p.silence > 3*time.Second {
			t.Errorf("the stream was silent for %v", p.silence)
		}
		return nil
	})
	h.stop()
}

// TestPageRates: records on the edges become rates, and much traffic ends the tap.
func TestPageRates(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	page, _ := openPage(t, h.ops)
	page.await(func(p *livePage) error {
		if !slices.Contains(p.tap, true) {
			return errors.New("the edges are not tapped")
		}
		return nil
	})
	load := start(t, []string{"HERD_TOPOLOGY=A-B"}, "load", "--rate=1000", "--duration=20s", h.addresses[0], h.addresses[1])
	page.await(func(p *livePage) error {
		a, e := p.herd.server("A"), p.herd.edge("A", "B")
		switch {
		case a.In == nil || *a.In < 300 || a.Out == nil || *a.Out < 100 || e.AB == nil || *e.AB < 100 || e.BA == nil || *e.BA < 100:
			return fmt.Errorf("%+v, %+v: too few records a second", a, e)
		case p.tap[len(p.tap)-1]:
			return errors.New("the edges are still tapped")
		}
		return nil
	})
	load.signal(syscall.SIGTERM)
	load.status()
	page.await(func(p *livePage) error {
		if !p.tap[len(p.tap)-1] {
			return errors.New("the edges are not tapped again")
		}
		return nil
	})
	h.stop()
}

// TestPageOfWatch: herd watch shows a herd of several processes. A server that is killed is down within 4 s, and
// up when it is back; what of the others is not known is not shown as known.
func TestPageOfWatch(t *testing.T) {
	t.Parallel()
	const spec = "A-B,B-C"
	g, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	herd := startProcesses(t, spec, g, false)
	watch, url := startWatch(t, herd.busEnv(herd.brokerAt)...)
	page, _ := openPage(t, url)
	page.awaitWell()
	if page.graph().Controls {
		t.Error("the page of herd watch has controls")
	}
	killed := time.Now()
	herd.servers["A"].kill()
	page.awaitServer("A", "down")
	if took := time.Since(killed); took > 4*time.Second {
		t.Errorf("a killed server is down after %v", took)
	}
	page.await(func(p *livePage) error {
		a, e := p.herd.server("A"), p.herd.edge("A", "B")
		if a.In != nil || a.Sessions != nil || a.Heard == nil || *a.Heard < 2 || e.State != "down" || e.AB != nil || e.Why == "" {
			return fmt.Errorf("%+v %+v", a, e)
		}
		if !slices.ContainsFunc(p.herd.Differences, func(line string) bool { return strings.HasPrefix(line, "A ") }) {
			return fmt.Errorf("differences: %q", p.herd.Differences)
		}
		if !slices.ContainsFunc(p.events, func(e liveEvent) bool {
			return e.Server == "B" && e.Kind == "down" && e.Peer == "A" && e.At > 0 && strings.HasPrefix(e.Text, "A is down")
		}) {
			return fmt.Errorf("events: %+v", p.events)
		}
		return nil
	})
	herd.serve("A")
	page.awaitWell()
	later, _ := openPage(t, url)
	later.await(func(p *livePage) error {
		if !slices.ContainsFunc(p.events, func(e liveEvent) bool { return e.Kind == "down" }) {
			return errors.New("a later page is not told the last events")
		}
		return nil
	})
	watch.stop()
}

// TestPageBusAway: while nothing is heard from the bus, the page says for how long, and that it knows
// nothing. It goes on when the bus is back; and it begins without one.
func TestPageBusAway(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	link := startRelay(t, strings.TrimPrefix(h.nats, "nats://"))
	_, url := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL="+link.url())
	page, _ := openPage(t, url)
	page.awaitWell()
	link.freeze()
	page.await(func(p *livePage) error {
		if p.herd.Heard == nil || *p.herd.Heard < 3 {
			return fmt.Errorf("last heard %v s ago", p.herd.Heard)
		}
		for _, s := range p.herd.Servers {
			if s.State == "up" || s.In != nil || s.Heard == nil || *s.Heard < 3 {
				return fmt.Errorf("%+v", s)
			}
		}
		for _, pair := range p.herd.Pairs {
			if pair.Equal || pair.Ago == nil || *pair.Ago < 3 {
				return fmt.Errorf("%+v", pair)
			}
		}
		return nil
	})
	page.await(func(p *livePage) error { // pings are not answered
		if p.herd.Bus != "disconnected" || p.herd.server("A").State != "unknown" || p.herd.edge("A", "B").State != "unknown" {
			return fmt.Errorf("%+v", p.herd)
		}
		return nil
	})
	link.thaw()
	page.awaitWell()
	h.stop()

	_, url = startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL=nats://"+freeAddress(t))
	page, _ = openPage(t, url)
	page.await(func(p *livePage) error {
		if p.herd.Bus != "disconnected" || !strings.Contains(p.herd.BusWhy, "is the herd running") || p.herd.Heard != nil {
			return fmt.Errorf("%+v", p.herd)
		}
		return nil
	})
}

// TestPageCostsNothing: without a page, nobody asks the servers or subscribes; a page that comes back starts anew.
func TestPageCostsNothing(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listen: %s\nhttp: %s\n", freeAddress(t), freeAddress(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	nats := startNATS(t, conf)
	_, url := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL="+nats.url)
	connections := func() int { return len(nats.connections()) }
	if got := connections(); got != 0 {
		t.Errorf("%d connections to the bus without a page", got)
	}
	for range 2 {
		page, leave := openPage(t, url)
		page.await(func(p *livePage) error {
			if p.herd.Bus != "connected" || connections() == 0 {
				return errors.New("not connected")
			}
			return nil
		})
		leave()
		eventually(t, func() error {
			if got := connections(); got != 0 {
				return fmt.Errorf("%d connections to the bus after the page was closed", got)
			}
			return nil
		})
	}
}

// TestWatchPort: herd watch says which setting changes an address that is in use, and accepts the hosts of the settings.
func TestWatchPort(t *testing.T) {
	t.Parallel()
	_, url := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL=nats://"+freeAddress(t), "HERD_WATCH_HOSTS=herd.example.com, other.example")
	address := strings.TrimPrefix(url, "http://")
	second := start(t, []string{"HERD_WATCH_LISTEN=" + address}, "watch")
	if status, said := second.status(), second.stderr.String(); status != exitFailure || strings.Count(said, "\n") != 1 || !strings.Contains(said, address+" for the page") || !strings.Contains(said, "HERD_WATCH_LISTEN") {
		t.Errorf("exit status %d, %q", status, said)
	}
	for host, want := range map[string]int{"herd.example.com": 200, "other.example:8080": 200, "evil.example": 421} {
		r, err := http.NewRequest(http.MethodGet, url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != want {
			t.Errorf("Host %s: %s, want %d", host, reply.Status, want)
		}
	}
	wrong := start(t, []string{"HERD_WATCH_HOSTS=http://herd.example.com,,x", "HERD_WATCH_LISTEN=nowhere"}, "watch")
	if status, said := wrong.status(), wrong.stderr.String(); status != exitUsage || strings.Count(said, "HERD_WATCH_HOSTS") != 2 || !strings.Contains(said, "HERD_WATCH_LISTEN") {
		t.Errorf("exit status %d, %q", status, said)
	}
}

// TestPageBehindProxy: the page works behind a reverse proxy with HTTPS, a name and a path prefix, and streams through
// it. Nobody can change the herd that way.
func TestPageBehindProxy(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B", "HERD_WATCH_HOSTS=herd.example.com")
	target, err := url.Parse(h.ops)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewTLSServer(http.StripPrefix("/herd", &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = "herd.example.com"
		},
	}))
	defer proxy.Close()
	get := func(path string) *http.Response {
		t.Helper()
		reply, err := proxy.Client().Get(proxy.URL + "/herd/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if reply.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, reply.Status)
		}
		return reply
	}
	index := get("")
	body, err := io.ReadAll(index.Body)
	index.Body.Close()
	if err != nil || index.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%v, %v", index.Header, err)
	}
	for _, absolute := range []string{`src="/`, `href="/`, "//"} {
		if strings.Contains(strings.ReplaceAll(string(body), "http://www.w3.org/", ""), absolute) {
			t.Errorf("the page has %q, which a prefix breaks", absolute)
		}
	}
	live := get("api/live")
	defer live.Body.Close()
	page := &livePage{t: t}
	go page.read(live.Body) // until the proxy is closed
	page.awaitWell()
	if page.graph().Controls {
		t.Error("the page has controls behind a proxy")
	}
	request, err := http.NewRequest(http.MethodPost, proxy.URL+"/herd/api/try/stop", strings.NewReader(`{"server":"A"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", proxy.URL)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	reply, err := proxy.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusForbidden {
		t.Errorf("stop behind a proxy: %s", reply.Status)
	}
	live.Body.Close()
	h.stop()
}
