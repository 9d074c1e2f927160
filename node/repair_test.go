package node

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
)

// TestLostMessages: what is lost on the way is noticed and brought by repair,
// within seconds, also where it was the last that was said.
func TestLostMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B,B-C").startAll()
		settle()
		h.network.Cut("A", "B") // too short for the edge to go down
		lost := h.dial("A").ask("IAMAT kiwi +1+1 100")
		settle()
		h.network.Heal("A", "B")
		if got := h.where("B", "kiwi"); got != "?" {
			t.Fatalf("B has %q across the cut", got)
		}
		time.Sleep(1500 * time.Millisecond) // until the next beat tells of it
		settle()
		h.agree("kiwi", lost)
	})
}

// TestSlowIntake: where the bus says that it lost messages, a comparison follows.
func TestSlowIntake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B").startAll()
		asked := make(chan bool, 100)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.sync.A.B" {
				asked <- true
			}
		})
		h.servers["A"].node.AsyncError("B", fmt.Errorf("subscription: %w", bus.ErrSlow))
		time.Sleep(1500 * time.Millisecond)
		if len(asked) != 1 {
			t.Errorf("%d comparisons asked for after messages were lost, want 1", len(asked))
		}
	})
}

// TestRestartedServer: a server that comes back with nothing has the whole map
// before it is ready, and a WHATSAT waits for that.
func TestRestartedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "goloman").startAll()
		settle()
		var last string
		c := h.dial("Goloman")
		for i := range 500 {
			last = c.ask(fmt.Sprintf("IAMAT c%d +1+1 100", i))
		}
		settle()
		if err := h.servers["Welsh"].stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		h.network.SetDelay(10 * time.Millisecond)
		began := time.Now()
		h.start("Welsh", 99, nil)
		if got := h.where("Welsh", "c499"); got != last {
			t.Errorf("Welsh has %q, want %q", got, last)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		for i := range 500 {
			if h.where("Welsh", fmt.Sprint("c", i)) == "?" {
				t.Errorf("Welsh was ready without c%d", i)
			}
		}
	})
}

// TestRepairOff: with repair off nothing is brought, nothing asked, and ready
// means listening.
func TestRepairOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		off := func(cfg *Config) { cfg.Repair = 0 }
		h := newTestHerd(t, "A-B")
		h.network.Tap(func(subject string, m bus.Message) {
			if m.Lane == bus.SyncRequest || m.Lane == bus.SyncReply {
				t.Errorf("repair spoke on %s", subject)
			}
		})
		h.start("A", 1, off)
		if err := h.servers["A"].node.Ready(); err != nil {
			synctest.Wait()
			if err := h.servers["A"].node.Ready(); err != nil {
				t.Errorf("not ready at the start: %v", err)
			}
		}
		h.dial("A").ask("IAMAT kiwi +1+1 100")
		settle()
		h.start("B", 2, off)
		time.Sleep(time.Minute)
		if err := h.servers["B"].stop(); err != nil {
			t.Fatal(err)
		}
		h.start("B", 3, off)
		time.Sleep(time.Minute)
		if got := h.where("B", "kiwi"); got != "?" {
			t.Errorf("B has %q, though nobody said it in its life", got)
		}
	})
}

// TestRepairIsTold: people are told what a repair brought.
func TestRepairIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		told := make(chan string, 100)
		h.network.Tap(func(subject string, m bus.Message) {
			if subject == "herd.event.B.repair.A" {
				told <- string(m.Data)
			}
		})
		h.startAll()
		for i := range 3 {
			h.dial("A").ask(fmt.Sprintf("IAMAT c%d +1+1 100", i))
		}
		settle()
		if err := h.servers["B"].stop(); err != nil {
			t.Fatal(err)
		}
		h.start("B", 9, nil).node.AwaitReady(t.Context())
		if text := <-told; !strings.Contains(text, "compared with A because it came up: 3 of 3 lines were news") {
			t.Errorf("told %q", text)
		}
	})
}
