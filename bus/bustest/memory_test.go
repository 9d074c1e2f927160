package bustest

import (
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
)

func TestMemory(t *testing.T) {
	TestBus(t, func(t *testing.T) Harness {
		n := &Network{}
		return Harness{
			Bus:   func(server string, _ uint64, neighbours ...string) Bus { return n.Bus(server, neighbours...) },
			Stop:  n.Stop,
			Start: n.Start,
			Tap: func(hear func(string)) {
				n.Tap(func(subject string, m bus.Message) { hear(subject + " " + string(m.Data)) })
			},
		}
	})
}

func TestCutAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Network{}
		a := n.Bus("A", "B")
		start(t, a)
		toB := start(t, n.Bus("B", "A"))
		n.SetDelay(time.Minute)
		n.Cut("B", "A")
		send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("lost")})
		n.Heal("A", "B")
		before := time.Now()
		send(t, a, bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("late")})
		if m := <-toB.messages; string(m.Data) != "late" || time.Since(before) != time.Minute {
			t.Errorf("got %q after %v, want \"late\" after a minute", m.Data, time.Since(before))
		}
	})
}
