package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// try sends a request to change the herd, as a browser does. change, if not nil, changes it first.
func try(t testing.TB, page, action, body string, change func(*http.Request)) (status int, reply string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, page+"/api/try/"+action, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", page)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if change != nil {
		change(r)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func mustTry(t testing.TB, page, action, body string) (reply string) {
	t.Helper()
	status, reply := try(t, page, action, body, nil)
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", action, body, status, reply)
	}
	return reply
}

// TestStatusOfCutHerd: herd status says that maps differ and do not change, also when it knows of another problem at once.
func TestStatusOfCutHerd(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	mustTry(t, h.ops, "cut", `{"a":"A","b":"B"}`)
	dial(t, h.addresses[0]).ask("IAMAT kiwi +34.068930-118.445127 1621464827.959498503")
	var exit int
	var table string
	eventually(t, func() error {
		if exit, table = outcome(t, []string{"HERD_TOPOLOGY=A-B", "HERD_NATS_URL=" + h.nats}, "status"); !strings.Contains(table, "A is not in step with B: down") {
			return errors.New(table)
		}
		return nil
	})
	if exit != exitFailure || !strings.Contains(table, "maps NOT equal") {
		t.Errorf("exit status %d\n%s", exit, table)
	}
}

// TestPageControls: a report, an edge that is cut and healed, and a server that is stopped and started. What
// happened meanwhile is repaired.
func TestPageControls(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B,B-C")
	page, _ := openPage(t, h.ops)
	page.awaitWell()
	var report struct{ Reply string }
	if got := mustTry(t, h.ops, "report", `{"server":"C","client":"kiwi","lat":34.07,"lon":-118.45}`); json.Unmarshal([]byte(got), &report) != nil || !strings.HasPrefix(report.Reply, "AT C +0.") || !strings.Contains(report.Reply, " kiwi +34.070000-118.450000 ") {
		t.Errorf("report: %s", got)
	}
	awaitAgreement(t, "kiwi", report.Reply, h.addresses...)

	mustTry(t, h.ops, "cut", `{"a":"C","b":"B"}`)
	page.awaitEdge("B", "C", "cut")
	for _, h := range []struct{ server, peer string }{{"B", "C"}, {"C", "B"}} { // they notice it themselves
		page.await(func(p *livePage) error {
			for _, e := range p.events {
				if e.Server == h.server && e.Kind == "down" && e.Peer == h.peer {
					return nil
				}
			}
			return fmt.Errorf("%s has not noticed: %v", h.server, p.events)
		})
	}
	atC := dial(t, h.addresses[2]).ask("IAMAT kiwi +1+1 9999999999")
	if got := dial(t, h.addresses[0]).lookup("kiwi"); got == atC {
		t.Error("a record crosses an edge that is cut")
	}
	page.await(func(p *livePage) error {
		for _, pair := range p.herd.Pairs {
			if pair.A == "A" && pair.B == "C" && (pair.Equal || pair.Ago == nil || *pair.Ago <= 0) {
				return fmt.Errorf("%+v", pair)
			}
		}
		if len(p.herd.Differences) != 1 || p.herd.Differences[0] != "C has as many clients as A, but other records of some" {
			return fmt.Errorf("%q", p.herd.Differences)
		}
		return nil
	})
	mustTry(t, h.ops, "heal", `{"a":"B","b":"C"}`)
	awaitAgreement(t, "kiwi", atC, h.addresses...)
	page.awaitWell()

	mustTry(t, h.ops, "stop", `{"server":"A"}`)
	page.await(func(p *livePage) error {
		if a := p.herd.server("A"); !a.Stopped || a.State != "down" || p.herd.edge("A", "B").State != "down" {
			return fmt.Errorf("%+v", p.herd)
		}
		return nil
	})
	if status, body := getPage(t, h.ops+"/readyz"); status != http.StatusServiceUnavailable || body != "A: stopped by the page\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	ready := scrape(t, h.ops)
	if got := sum(ready, "herd_ready", "server", "A"); got != 0 {
		t.Errorf("herd_ready of a stopped server is %v", got)
	}
	if status, body := try(t, h.ops, "report", `{"server":"A","client":"kiwi","lat":1,"lon":1}`, nil); status != http.StatusConflict || !strings.Contains(body, "cannot be reached") {
		t.Errorf("a report to a stopped server: %d %q", status, body)
	}
	reload := start(t, []string{"HERD_TOPOLOGY=A-B,B-C", "HERD_NATS_URL=" + h.nats, "HERD_NATS_SEED=" + opsSeedOf(t, h)}, "reload", "B")
	if reload.status() != exitOK {
		t.Errorf("reload while a server is stopped: %s", reload.stderr.String())
	}
	later := dial(t, h.addresses[1]).ask("IAMAT emu +2+2 5")
	mustTry(t, h.ops, "start", `{"server":"A"}`)
	page.awaitWell()
	awaitAgreement(t, "emu", later, h.addresses...) // at the same address, and from its neighbour
	awaitAgreement(t, "kiwi", atC, h.addresses...)
	page.await(func(p *livePage) error {
		if a := p.herd.server("A"); a.Stopped || a.In == nil {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	awaitReadyz(t, strings.TrimPrefix(h.ops, "http://"))

	for _, name := range h.graph.Servers() { // the process lives without servers
		mustTry(t, h.ops, "stop", fmt.Sprintf(`{"server":%q}`, name))
	}
	if status, _ := getPage(t, h.ops+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz without servers: %d", status)
	}
	mustTry(t, h.ops, "start", `{"server":"B"}`)
	page.awaitServer("B", "up")
	h.stop()
}

// TestPageControlsRefused: only a browser on this host that shows this page may change the herd.
func TestPageControlsRefused(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for what, change := range map[string]func(*http.Request){
		"Forwarded":         header("Forwarded", "for=192.0.2.1"),
		"X-Forwarded-For":   header("X-Forwarded-For", "127.0.0.1"),
		"X-Forwarded-Proto": header("X-Forwarded-Proto", "https"),
		"X-Real-Ip":         header("X-Real-Ip", "127.0.0.1"),
		"X-Forwarded":       header("X-Forwarded", "for=192.0.2.1"),
		"X-Client-IP":       header("X-Client-IP", "192.0.2.1"),
		"CF-Connecting-IP":  header("CF-Connecting-IP", "192.0.2.1"),
		"True-Client-IP":    header("True-Client-IP", "192.0.2.1"),
		"Via":               header("Via", "1.1 proxy"),
		"foreign origin":    header("Origin", "http://evil.example"),
		"opaque origin":     header("Origin", "null"),
		"another port":      header("Origin", "http://127.0.0.1:1"),
		"cross-site":        header("Sec-Fetch-Site", "cross-site"),
		"same-site":         header("Sec-Fetch-Site", "same-site"),
		"text":              header("Content-Type", "text/plain"),
		"no type":           func(r *http.Request) { r.Header.Del("Content-Type") },
		"no browser":        func(r *http.Request) { r.Header.Del("Origin"); r.Header.Del("Sec-Fetch-Site") },
		"public address":    func(r *http.Request) { r.Host = "192.0.2.1"; r.Header.Set("Origin", "http://192.0.2.1") },
	} {
		if status, body := try(t, h.ops, "stop", `{"server":"A"}`, change); status != http.StatusForbidden || strings.Count(body, "\n") != 1 {
			t.Errorf("%s: %d %q, want 403", what, status, body)
		}
	}
	for what, tt := range map[string]struct {
		action, body string
		want         int
	}{
		"no server":      {"stop", `{"server":"Z"}`, 409},
		"runs":           {"start", `{"server":"A"}`, 409},
		"no edge":        {"cut", `{"a":"A","b":"A"}`, 409},
		"not cut":        {"heal", `{"a":"A","b":"B"}`, 409},
		"no action":      {"explode", `{}`, 404},
		"no JSON":        {"stop", `A`, 400},
		"another field":  {"stop", `{"servers":"A"}`, 400},
		"two objects":    {"stop", `{"server":"A"}{"server":"B"}`, 400},
		"text behind it": {"stop", `{"server":"A"} B`, 400},
		"large":          {"stop", `{"server":"` + strings.Repeat("A", 5000) + `"}`, 400},
		"no position":    {"report", `{"server":"A","client":"kiwi"}`, 400},
		"wrong position": {"report", `{"server":"A","client":"kiwi","lat":91,"lon":1}`, 400},
		"white space":    {"report", `{"server":"A","client":"ki wi","lat":1,"lon":1}`, 400},
		"line feed":      {"report", `{"server":"A","client":"kiwi\nhello","lat":1,"lon":1}`, 400},
	} {
		if status, body := try(t, h.ops, tt.action, tt.body, nil); status != tt.want || strings.Count(body, "\n") != 1 {
			t.Errorf("%s: %d %q, want %d", what, status, body, tt.want)
		}
	}
	page, _ := openPage(t, h.ops)
	page.awaitWell() // A still runs
	_, watch := startWatch(t, "HERD_TOPOLOGY=A-B", "HERD_NATS_URL="+h.nats)
	if status, body := try(t, watch, "stop", `{"server":"A"}`, nil); status != http.StatusForbidden || !strings.Contains(body, "only shows") {
		t.Errorf("herd watch: %d %q, want 403", status, body)
	}
	h.stop()
}

// TestPageStartFails: a server whose port is taken stays stopped, and can be started later.
func TestPageStartFails(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B")
	mustTry(t, h.ops, "stop", `{"server":"A"}`)
	port, err := net.Listen("tcp", h.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	if status, body := try(t, h.ops, "start", `{"server":"A"}`, nil); status != http.StatusConflict || !strings.Contains(body, "cannot listen") {
		t.Errorf("start while the port is taken: %d %q", status, body)
	}
	port.Close()
	mustTry(t, h.ops, "start", `{"server":"A"}`)
	page, _ := openPage(t, h.ops)
	page.awaitWell()
	h.stop()
	eventually(t, func() error { // the stream ends with the process
		page.mu.Lock()
		defer page.mu.Unlock()
		if page.ended == nil {
			return errors.New("the stream goes on")
		}
		return nil
	})
}

// TestPageStopsWithJournal: a server that is stopped and started by the page has what its journal has, also if no
// neighbour runs.
func TestPageStopsWithJournal(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A-B", "HERD_JOURNAL=ack", "HERD_DATA_DIR="+t.TempDir(), "HERD_LOG_DIR="+t.TempDir())
	record := dial(t, h.addresses[0]).ask("IAMAT kiwi +1+1 5")
	awaitAgreement(t, "kiwi", record, h.addresses...)
	for range 2 {
		mustTry(t, h.ops, "stop", `{"server":"A"}`)
		mustTry(t, h.ops, "stop", `{"server":"B"}`)
		mustTry(t, h.ops, "start", `{"server":"A"}`)
		awaitAgreement(t, "kiwi", record, h.addresses[0])
		mustTry(t, h.ops, "start", `{"server":"B"}`)
	}
	awaitAgreement(t, "kiwi", record, h.addresses...)
	h.stop()
}

// TestPageReload: pages are told edges that a reload adds, and a server that was stopped meanwhile starts with them.
func TestPageReload(t *testing.T) {
	t.Parallel()
	edges := filepath.Join(t.TempDir(), "edges")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(edges, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("A-B\nB-C\n")
	h := startUp(t, edges)
	page, _ := openPage(t, h.ops)
	page.awaitWell()
	if hello := page.graph(); len(hello.Edges) != 2 {
		t.Errorf("hello: %+v", hello)
	}
	mustTry(t, h.ops, "stop", `{"server":"C"}`)
	write("A-B\nB-C\nA-C\n")
	h.signal(syscall.SIGHUP)
	page.await(func(p *livePage) error {
		if len(p.hello.Edges) != 3 || p.herd.edge("A", "C").State != "down" {
			return fmt.Errorf("%+v %+v", p.hello, p.herd)
		}
		return nil
	})
	mustTry(t, h.ops, "start", `{"server":"C"}`)
	page.awaitWell()
	h.stop()
}

// TestPageReportNeedsPlainPort: where clients must use TLS, or come from a proxy, the page says that it cannot report.
func TestPageReportNeedsPlainPort(t *testing.T) {
	t.Parallel()
	for networks, want := range map[string]bool{"127.0.0.0/8": false, "192.0.2.0/24": true} {
		h := startUp(t, "A-B", "HERD_PROXY_PROTOCOL="+networks)
		page, _ := openPage(t, h.ops)
		page.awaitWell()
		if hello := page.graph(); !hello.Controls || hello.Report != want {
			t.Errorf("%s: %+v, want report %v", networks, hello, want)
		}
		status, body := try(t, h.ops, "report", `{"server":"A","client":"kiwi","lat":1,"lon":1}`, nil)
		if (status == http.StatusOK) != want || !want && !strings.Contains(body, "use herd ask") {
			t.Errorf("%s: %d %q", networks, status, body)
		}
		h.stop()
	}
}
