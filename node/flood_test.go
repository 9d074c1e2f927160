package node

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
)

// crossings counts how often each record crossed each edge, in each direction.
type crossings struct {
	mu    sync.Mutex
	count map[string]int // by subject, space and line
}

func tapCrossings(h *testHerd) *crossings {
	c := &crossings{count: map[string]int{}}
	h.network.Tap(func(subject string, m bus.Message) {
		if m.Lane != bus.Records {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for line := range strings.Lines(string(m.Data)) {
			c.count[subject+" "+strings.TrimSuffix(line, "\n")]++
		}
	})
	return c
}

// check checks that no record crossed an edge twice in one direction, or between servers
// that are not neighbours.
func (c *crossings) check(h *testHerd) {
	h.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for crossing, times := range c.count {
		subject, line, _ := strings.Cut(crossing, " ")
		f := strings.Split(subject, ".")
		if !h.graph.Adjacent(f[2], f[3]) {
			h.t.Errorf("%q was sent from %s to %s, which are not neighbours", line, f[2], f[3])
		}
		if times > 1 {
			h.t.Errorf("%q was sent %d times on %s", line, times, subject)
		}
	}
}

// TestFlood: a report to any server reaches all servers, and crosses each edge at most
// once in each direction.
func TestFlood(t *testing.T) {
	for _, spec := range []string{"goloman", "riley", "A-B", "Solo"} {
		t.Run(spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, spec)
				crossed := tapCrossings(h)
				h.startAll()
				settle()
				for i, name := range h.graph.Servers() {
					c := h.dial(name)
					reply := c.ask(fmt.Sprintf("IAMAT kiwi +34.068930-118.445127 %d", time.Now().Unix()+int64(i)))
					if !strings.HasPrefix(reply, "AT "+name+" ") {
						t.Fatalf("the reply of %s is %q", name, reply)
					}
					settle()
					h.wantRecord("kiwi", reply)
				}
				if want := len(h.graph.Edges()) > 0; (len(crossed.count) > 0) != want {
					t.Errorf("%d crossings, want some: %v", len(crossed.count), want)
				}
				crossed.check(h)
			})
		})
	}
}

// total is the number of crossings.
func (c *crossings) total() (times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.count {
		times += n
	}
	return times
}

// TestReportsWhileDisconnected: while NATS is disconnected, replies do not wait. The
// reports reach all servers after it is connected again.
func TestReportsWhileDisconnected(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, 20 * time.Second} {
		t.Run(outage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newTestHerd(t, "goloman")
				crossed := tapCrossings(h)
				h.startAll()
				settle()
				h.network.Stop()
				settle()
				c := h.dial("Welsh")
				began := time.Now()
				var want string
				for i := range 3 {
					want = c.ask(fmt.Sprintf("IAMAT kiwi +1+1 %d", 100+i))
				}
				if waited := time.Since(began); waited > 0 {
					t.Errorf("replies took %v while NATS was disconnected, want none to wait", waited)
				}
				time.Sleep(outage)
				if got := h.record("Goloman", "kiwi"); got != "?" {
					t.Fatalf("Goloman has %q while NATS is disconnected", got)
				}
				h.network.Start()
				settle()
				h.wantRecord("kiwi", want)
				crossed.check(h)
			})
		})
	}
}
