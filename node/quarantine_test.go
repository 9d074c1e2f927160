package node

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
)

// TestQuarantine: a server mutes a neighbour that breaks the protocol, says so in its
// status, stays ready, and goes on with the others. Afterwards the two are equal again.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,A-C")
		h.startAll()
		settle()
		a := h.servers["A"].node
		for range 200 {
			a.Receive(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("malformed\n")})
		}
		time.Sleep(2 * time.Second)
		edges := a.Status().Edges
		if edges[0].Up || !strings.HasPrefix(edges[0].Problem, "B is in quarantine for 30s because it broke the protocol: a frame had 1 malformed line") {
			t.Errorf("the edge to B is %+v", edges[0])
		}
		if err := a.Ready(); err != nil {
			t.Errorf("A is not ready: %v", err)
		}
		for i := range 50 { // B does not know or does not care
			h.network.Bus("B", "A").Send(bus.Message{Lane: bus.Records, Peer: "A", Data: fmt.Appendf(nil, "AT B +1.000000000 emu%d +1+1 100\n", i)})
		}
		h.dial("B").ask("IAMAT fromB +1+1 1")
		h.dial("C").ask("IAMAT fromC +1+1 1")
		settle()
		if got := h.record("A", "fromC"); !strings.HasPrefix(got, "AT C ") {
			t.Errorf("A has %q of C's client", got)
		}
		if got := h.record("A", "fromB") + h.record("A", "emu3"); got != "??" {
			t.Errorf("A has %q of B's clients, want nothing", got)
		}
		time.Sleep(40 * time.Second)
		if got := h.record("C", "fromB"); !strings.HasPrefix(got, "AT B ") {
			t.Errorf("after the quarantine C has %q of B's client", got)
		}
		if edges := a.Status().Edges; !edges[0].Up || !edges[0].InStep {
			t.Errorf("after the quarantine the edge to B is %+v", edges[0])
		}
	})
}

// TestRequestFlood: of requests that a neighbour sends faster than they can be answered the
// oldest are dropped. They do not hold up what others send, and lead to quarantine.
func TestRequestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,A-C")
		h.startAll()
		settle()
		a := h.servers["A"].node
		request := make([]byte, 14+256*8)
		request[0] = 'G'
		for i := range maxWaiting + 3 {
			request[8] = byte(i)
			if a.requests.add(requestOf(0, request)) != (i >= maxWaiting) {
				t.Errorf("for request %d another one is dropped: %v", i, i < maxWaiting)
			}
		}
		a.requests.add(requestOf(1, request))
		var order []string
		for r, ok := a.requests.next(); ok; r, ok = a.requests.next() {
			order = append(order, fmt.Sprint(r.edge, ":", r.message.Data[8]))
		}
		if got := strings.Join(order, " "); got != "1:10 0:3 0:4 0:5 0:6 0:7 0:8 0:9 0:10" {
			t.Errorf("requests are answered in the order %s", got)
		}
		for range 100_000 {
			a.Receive(bus.Message{Lane: bus.SyncRequest, Peer: "B", Data: request})
		}
		settle()
		if edges := a.Status().Edges; !strings.Contains(edges[0].Problem, "quarantine") || !edges[1].InStep {
			t.Errorf("edges %+v", edges)
		}
	})
}

func requestOf(edge int, data []byte) request {
	return request{edge, bus.Message{Lane: bus.SyncRequest, Data: append([]byte(nil), data...)}}
}
