package natsbus_test

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/bustest"
	"herd/bus/embed"
	"herd/bus/natsbus"
)

// TestNATS runs the suite that the bus in memory passes against real NATS
// servers, over TCP.
func TestNATS(t *testing.T) {
	bustest.TestBus(t, newHarness)
}

func newHarness(t *testing.T) bustest.Harness {
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := embed.Start("127.0.0.1:0", log)
	if err != nil {
		t.Fatal(err)
	}
	address := mustHost(t, s.URL())
	stop := sync.OnceFunc(s.Shutdown)
	t.Cleanup(func() { stop() })
	return bustest.Harness{
		Bus: func(server string, epoch uint64, neighbours ...string) bustest.Bus {
			return natsbus.New(natsbus.Config{
				URLs: []string{s.URL()}, Prefix: "herd", Server: server, Neighbours: neighbours, Epoch: epoch, Log: log,
			})
		},
		Stop: func() { stop() },
		Start: func() {
			again, err := embed.Start(address, log)
			if err != nil {
				t.Error(err)
				return
			}
			stop = sync.OnceFunc(again.Shutdown)
		},
		Tap: func(hear func(string)) {
			nc, err := nats.Connect(s.URL())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(nc.Close)
			if _, err := nc.Subscribe(">", func(m *nats.Msg) { hear(m.Subject + " " + string(m.Data)) }); err != nil {
				t.Error(err)
			}
			if err := nc.FlushTimeout(5 * time.Second); err != nil {
				t.Error(err)
			}
		},
	}
}

func mustHost(t *testing.T, raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestTapDoesNotTakeTheName: somebody who listens to all subjects is no rival,
// though the broker no longer says that nobody is there.
func TestTapDoesNotTakeTheName(t *testing.T) {
	h := newHarness(t)
	h.Tap(func(string) {})
	connected := make(chan bool, 10)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- h.Bus("A", 1, "B").Run(ctx, connectedHandler(connected)) }()
	select {
	case <-connected:
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case err := <-ended:
		cancel()
		t.Errorf("Run = %v while somebody taps", err)
	}
}

type connectedHandler chan bool

func (c connectedHandler) Connected(up bool)     { c <- up }
func (c connectedHandler) Receive(bus.Message)   {}
func (c connectedHandler) Trouble(string, error) {}
