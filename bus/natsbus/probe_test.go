package natsbus

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestProbeHangs: while a probe waits for a broker that does not answer it, edges are
// applied.
func TestProbeHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{MaxPayload: minPayload, MaxPending: 64 << 20})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var probes atomic.Int32
	go func() { // carries the first connection, and holds the others
		for first := true; ; first = false {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			defer near.Close()
			if !first {
				probes.Add(1)
				continue
			}
			far, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer far.Close()
			go io.Copy(near, far)
			go io.Copy(far, near)
		}
	}()
	b := New(Config{URLs: []string{"nats://" + ln.Addr().String()}, Prefix: "herd", Server: "A", Epoch: 1, Log: testLog(t)})
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	for until := time.Now().Add(payloadRefreshes*refreshEvery + patience); probes.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("no probe was made")
		}
	}
	began := time.Now()
	b.SetNeighbours([]string{"B"})
	if took := time.Since(began); took > edgesTimeout/2 {
		t.Errorf("SetNeighbours took %v while a probe hung", took)
	}
}
