package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
	herd := startProcesses(t, spec)
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
