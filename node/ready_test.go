package node

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestReadyFollowsTheBus: reached once, ready is kept, but for /readyz, which tells
// of the bus, and of a stop.
func TestReadyFollowsTheBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		a := h.servers["A"].node
		ops := Ops(false, prometheus.NewRegistry(), a, h.servers["B"].node)
		expect := func(when string, status int, text string) {
			t.Helper()
			settle()
			reply := httptest.NewRecorder()
			ops.ServeHTTP(reply, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if reply.Code != status || !strings.Contains(reply.Body.String(), text) {
				t.Errorf("%s: /readyz %d %q, want %d with %q", when, reply.Code, reply.Body.String(), status, text)
			}
		}
		expect("started", http.StatusOK, "ready\n")
		h.network.Stop()
		expect("without a bus", http.StatusServiceUnavailable, "A: the bus is away\nB: the bus is away\n")
		if a.Status().Edges[0].Up {
			t.Error("an edge is up beyond a bus that is away")
		}
		began := time.Now()
		if h.dial("A").ask("WHATSAT kiwi 0 0"); time.Since(began) > 0 {
			t.Error("a WHATSAT waited for a bus that went away")
		}
		h.network.Start()
		expect("with it again", http.StatusOK, "ready\n")
		if err := h.servers["A"].stop(); err != nil {
			t.Fatal(err)
		}
		expect("one stopped", http.StatusServiceUnavailable, "A: stopping\n")
	})
}

func TestProfiles(t *testing.T) {
	for profiles, want := range map[bool]int{true: http.StatusOK, false: http.StatusNotFound} {
		reply := httptest.NewRecorder()
		Ops(profiles, prometheus.NewRegistry()).ServeHTTP(reply, httptest.NewRequest(http.MethodGet, "/debug/pprof/cmdline", nil))
		if reply.Code != want {
			t.Errorf("profiles %v: %d, want %d", profiles, reply.Code, want)
		}
	}
}
