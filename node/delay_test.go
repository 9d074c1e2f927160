package node

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"herd/node/replica"
	"herd/node/wire"
)

// TestDelayedForwarding: a record is not forwarded at once to a neighbour that should get
// it from its sender too. In the end it crosses each edge once.
func TestDelayedForwarding(t *testing.T) {
	for origin, atOnce := range map[string]int{
		"Goloman": 4, // to Hands, Holiday and Wilkes, and from one of them to Welsh
		"Welsh":   5, // to Holiday, from there to Goloman and Wilkes, and from both to Hands
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newTestHerd(t, "goloman").startAll()
			crossed := tapCrossings(h)
			reply := h.dial(origin).ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", time.Now().Unix()))
			settle()
			h.wantRecord("kiwi", reply)
			if n := crossed.total(); n != atOnce {
				t.Errorf("a report to %s crossed %d edges at once, want %d", origin, n, atOnce)
			}
			time.Sleep(time.Minute)
			if n, edges := crossed.total(), len(h.graph.Edges()); n != edges {
				t.Errorf("a report to %s crossed edges %d times in total, want each of %d edges once", origin, n, edges)
			}
			for name, s := range h.servers {
				s.node.mu.Lock()
				if s.node.forwardTimer {
					t.Errorf("the forward timer of %s runs, but nothing is delayed", name)
				}
				s.node.mu.Unlock()
			}
			crossed.check(h)
		})
	}
}

// TestDelayedForwardingWithCutEdge: if the sender cannot reach the third server of a
// triangle, the delayed record is forwarded after the delay. It is forwarded at once if
// the server that delays it stops, or replies to an older report of the client.
func TestDelayedForwardingWithCutEdge(t *testing.T) {
	const most = 10 * replica.ForwardTick
	for name, then := range map[string]func(*testing.T, *testHerd){
		"time passes": func(_ *testing.T, h *testHerd) {
			c := h.dial("Goloman")
			for i := range int(10 * most / replica.ForwardTick) { // other records are delayed meanwhile
				time.Sleep(replica.ForwardTick / 10)
				c.ask(fmt.Sprintf("IAMAT emu%d +1+1 %d", i, time.Now().Unix()))
			}
		},
		"stop": func(t *testing.T, h *testHerd) {
			h.servers["Xena"].node.sendHeartbeat(0, wire.Heartbeat{}) // announces everything that Xena has sent
			synctest.Wait()
			if err := h.servers["Hands"].stop(); err != nil {
				t.Error(err)
			}
		},
		"older report": func(_ *testing.T, h *testHerd) {
			h.dial("Hands").ask("IAMAT kiwi +2+2 1")
		},
	} {
		for _, spec := range []string{ // the server that delays has the short delay, or the long one
			"Goloman-Hands,Hands-Wilkes,Wilkes-Goloman,Hands-Xena",
			"Goloman-Hands,Hands-Aardvark,Aardvark-Goloman,Hands-Xena",
		} {
			t.Run(name+"/"+spec, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newTestHerd(t, spec).startAll()
					third := h.graph.Servers()[2]
					h.network.Cut("Goloman", third)
					began := time.Now()
					reply := h.dial("Goloman").ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", began.Unix()))
					settle()
					if got := h.record(third, "kiwi"); got != "?" {
						t.Fatalf("%s has %q across the cut", third, got)
					}
					then(t, h)
					settle()
					if got := h.record(third, "kiwi"); got != reply {
						t.Errorf("after %v %s has %q, want %q", time.Since(began), third, got, reply)
					}
					if took := time.Since(began); took > most+time.Second/10 {
						t.Errorf("forwarding took %v, want at most %v", took, most+time.Second/10)
					}
				})
			})
		}
	}
}
