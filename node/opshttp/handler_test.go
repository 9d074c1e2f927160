package opshttp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"herd/bus/bustest"
	"herd/node"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return serve(h, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	reply := httptest.NewRecorder()
	h.ServeHTTP(reply, r)
	return reply
}

// TestOtherPaths: the reply to any other path lists those that exist.
func TestOtherPaths(t *testing.T) {
	for _, profiles := range []bool{false, true} {
		reply := get(Handler(profiles, prometheus.NewRegistry(), nil), "/")
		if reply.Code != http.StatusNotFound || !strings.Contains(reply.Body.String(), "/healthz /readyz /metrics") || strings.Contains(reply.Body.String(), "/debug/pprof/") != profiles {
			t.Errorf("%d %q, want 404 and a list", reply.Code, reply.Body)
		}
	}
	if reply := serve(Handler(false, prometheus.NewRegistry(), nil), httptest.NewRequest(http.MethodPost, "http://localhost/readyz", nil)); reply.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d, want 405", reply.Code)
	}
}

// TestReadyz: 503 with a line for each server that is not ready.
func TestReadyz(t *testing.T) {
	if reply := get(Handler(false, prometheus.NewRegistry(), nil), "/readyz"); reply.Code != http.StatusOK || reply.Body.String() != "ready\n" {
		t.Errorf("no servers: %d %q, want 200 ready", reply.Code, reply.Body)
	}
	stopped := func(name string) *node.Node {
		return node.New(node.Config{Name: name, Bus: (&bustest.Network{}).Bus(name), Log: slog.New(slog.DiscardHandler)})
	}
	reply := get(Handler(false, prometheus.NewRegistry(), nil, stopped("A"), stopped("B")), "/readyz")
	want := "A: not connected to NATS yet\nB: not connected to NATS yet\n"
	if reply.Code != http.StatusServiceUnavailable || reply.Body.String() != want {
		t.Errorf("two servers that do not run: %d %q, want 503 %q", reply.Code, reply.Body, want)
	}
}

// fakePage is a page that is served at localhost only.
type fakePage struct{ http.HandlerFunc }

func (fakePage) Guard(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// TestPage: a page has all paths that are not the operators', and the list of these is at /paths.
func TestPage(t *testing.T) {
	page := fakePage{func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page ", r.Method, " ", r.URL.Path) }}
	handler := Handler(true, prometheus.NewRegistry(), page)
	for path, want := range map[string]string{
		"/": "page GET /", "/main.js": "page GET /main.js", "/api/live": "page GET /api/live", "/healthz": "ok\n", "/readyz": "ready\n",
		"/paths": "/\n/healthz\n/readyz\n/metrics\n/debug/pprof/\n",
	} {
		if reply := get(handler, path); reply.Body.String() != want {
			t.Errorf("%s: %q, want %q", path, reply.Body, want)
		}
	}
	if reply := serve(handler, httptest.NewRequest(http.MethodPost, "http://localhost/api/try/stop", nil)); reply.Body.String() != "page POST /api/try/stop" {
		t.Errorf("POST: %q", reply.Body)
	}
}

// TestMetrics: the metrics of a server that does not run, and of its edge, are valid for
// Prometheus.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Metrics(node.New(node.Config{Name: "A", Neighbours: []string{"B"}, Bus: (&bustest.Network{}).Bus("A", "B"), Log: slog.New(slog.DiscardHandler)})))
	reply := get(Handler(false, registry, nil), "/metrics")
	if reply.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", reply.Code, reply.Body)
	}
	for _, line := range []string{
		`herd_ready{server="A"} 0`, `herd_panics_total{server="A"} 0`, `herd_client_refusals_total{reason="write_timeout",server="A"} 0`, `herd_requests_refused_total{server="A"} 0`, `herd_edge_up{peer="B",server="A"} 0`,
		`herd_events_total{kind="mismatch",server="A"} 0`, `herd_reply_duration_seconds_count{command="iamat",server="A"} 0`,
	} {
		if !strings.Contains(reply.Body.String(), line+"\n") {
			t.Errorf("/metrics does not contain %q", line)
		}
	}
	if strings.Contains(reply.Body.String(), "herd_edge_beat_age_seconds{") {
		t.Error("/metrics has a heartbeat age before the first heartbeat")
	}
}

func TestProfiles(t *testing.T) {
	for profiles, want := range map[bool]int{true: http.StatusOK, false: http.StatusNotFound} {
		if reply := get(Handler(profiles, prometheus.NewRegistry(), nil), "/debug/pprof/cmdline"); reply.Code != want {
			t.Errorf("profiles %v: %d, want %d", profiles, reply.Code, want)
		}
	}
}

// TestOneByOne: one request at a time is handled. Others wait, but not longer than their
// clients.
func TestOneByOne(t *testing.T) {
	begun, end := make(chan struct{}, 9), make(chan struct{})
	handler := oneByOne(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-end
	}))
	var all sync.WaitGroup
	all.Go(func() { get(handler, "/") })
	<-begun
	gone, leave := context.WithCancel(t.Context())
	leave()
	serve(handler, httptest.NewRequestWithContext(gone, http.MethodGet, "/", nil))
	if len(begun) > 0 {
		t.Error("a second request is handled beside the first")
	}
	all.Go(func() { get(handler, "/") })
	close(end)
	all.Wait()
	if len(begun) != 1 {
		t.Errorf("%d requests handled after the first, want 1", len(begun))
	}
}

// TestOneByOneStalled: a client that does not read its response does not delay others.
func TestOneByOneStalled(t *testing.T) {
	handler := oneByOne(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/test")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "response")
	}))
	stalled := stalledWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() { handler.ServeHTTP(stalled, httptest.NewRequest(http.MethodGet, "/", nil)) })
	<-stalled.writing
	if r := get(handler, "/"); r.Code != http.StatusTeapot || r.Body.String() != "response" || r.Header().Get("Content-Type") != "text/test" {
		t.Errorf("the response is %d %q of type %q", r.Code, r.Body, r.Header().Get("Content-Type"))
	}
	close(stalled.goOn)
	all.Wait()
}

// stalledWriter blocks in Write.
type stalledWriter struct {
	*httptest.ResponseRecorder
	writing, goOn chan struct{}
}

func (w stalledWriter) Write(p []byte) (int, error) {
	close(w.writing)
	<-w.goOn
	return w.ResponseRecorder.Write(p)
}
