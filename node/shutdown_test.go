package node

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStop: complete lines that were read are answered and flooded, and the neighbour has
// confirmed them when Run returns.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, func(cfg *Config) { cfg.Places = slowPlaces(2 * time.Second) })
		h.start("B", 2, nil)
		settle()
		h.network.SetDelay(100 * time.Millisecond)
		c := h.dial("A")
		c.send("IAMAT kiwi +1+1 1\nWHATSAT kiwi 10 5\nIAMAT kiwi +1+1 2\nan unfinished line")
		c.line()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- h.servers["A"].stop() }()
		settle()
		for range 3 {
			c.line() // of the WHATSAT
		}
		last := c.line()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("after the last reply: %q, %v, want the end", rest, err)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		// Run waits for the record to arrive and for the confirmation: 100 ms each.
		if got := h.record("B", "kiwi"); got != last {
			t.Errorf("when A has stopped, B has %q, want %q", got, last)
		}
		if took := time.Since(began); took < 2*time.Second+200*time.Millisecond || took > 3*time.Second {
			t.Errorf("the stop took %v, want 2.2 s to 3 s", took)
		}
	})
}

// TestStopUnconfirmed: if records cannot be sent to a neighbour that is up, Run returns an
// error after stopTimeout. It does not wait for a neighbour that is down.
func TestStopUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		slow := startSlow(h, "A")
		h.start("B", 2, nil)
		settle()
		slow.set(nil, errors.New("not now"))
		h.dial("A").ask("IAMAT kiwi +1+1 1")
		began := time.Now()
		err := h.servers["A"].stop()
		if err == nil || !strings.Contains(err.Error(), "1 records were not sent within 8s") {
			t.Errorf("Run = %v, want an error with the number of records", err)
		}
		if took := time.Since(began); took != stopTimeout {
			t.Errorf("the stop took %v, want %v", took, stopTimeout)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newTestHerd(t, "A-B")
		h.start("A", 1, nil)
		time.Sleep(time.Second)
		h.dial("A").ask("IAMAT kiwi +1+1 1")
		began := time.Now()
		if err := h.servers["A"].stop(); err != nil || time.Since(began) != 0 {
			t.Errorf("Run = %v after %v, with its neighbour down, want nil at once", err, time.Since(began))
		}
	})
}

// TestListenerFails: if the listener fails, the server ends its sessions as in a stop.
func TestListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, nil)
		settle()
		c := h.dial("Solo")
		c.ask("IAMAT kiwi +1+1 1")
		settle()
		began := time.Now()
		h.servers["Solo"].ln.Close()
		if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end", rest, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the session ended %v after the listener, want at most a second", took)
		}
	})
}
