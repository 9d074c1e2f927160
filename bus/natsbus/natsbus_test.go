package natsbus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"herd/bus"
	"herd/bus/bustest"
	"herd/bus/natsbus"
)

// TestNATS runs the suite that the bus in memory passes against real NATS
// servers, over each transport.
func TestNATS(t *testing.T) {
	t.Run("TCP", func(t *testing.T) { bustest.TestBus(t, newHarness) })
	t.Run("TLS", func(t *testing.T) {
		cert, key, err := bustest.WriteCertificate(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		bustest.TestBus(t, func(t *testing.T) bustest.Harness {
			return harness(t, cert, func(address string) (string, func(), error) {
				o := &server.Options{TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
				setAddress(t, address, &o.Host, &o.Port)
				s, err := startServer(o)
				if err != nil {
					return "", nil, err
				}
				return "tls://" + s.Addr().String(), s.Shutdown, nil
			})
		})
	})
	t.Run("WebSocket", func(t *testing.T) {
		bustest.TestBus(t, func(t *testing.T) bustest.Harness {
			return harness(t, "", func(address string) (string, func(), error) {
				o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, Websocket: server.WebsocketOpts{NoTLS: true}}
				setAddress(t, address, &o.Websocket.Host, &o.Websocket.Port)
				s, err := startServer(o)
				if err != nil {
					return "", nil, err
				}
				return s.WebsocketURL(), s.Shutdown, nil
			})
		})
	})
}

// TestTapDoesNotTakeTheName: somebody who subscribes to all subjects is no contender,
// although the broker then no longer says that nobody is there.
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
		t.Errorf("Run = %v while there is a tap", err)
	}
}

type connectedHandler chan bool

func (c connectedHandler) Connected(up bool)        { c <- up }
func (c connectedHandler) Receive(bus.Message)      {}
func (c connectedHandler) BatchEnd()                {}
func (c connectedHandler) AsyncError(string, error) {}
func (c connectedHandler) Answer(string, []byte) (bus.Reply, error) {
	return bus.Reply{}, bus.ErrUnknown
}
func (c connectedHandler) Stream(bus.StreamRequest) error { return bus.ErrUnknown }

// TestConcurrentClaims: of several processes that claim one name at the same time the one
// that started first gets it, and the others end: none of them was ever connected.
func TestConcurrentClaims(t *testing.T) {
	h := newHarness(t)
	h.Tap(func(string) {}) // makes all of them wait for each other
	const claims = 5
	type outcome struct {
		epoch     uint64
		connected bool
		err       error
	}
	outcomes := make(chan outcome, claims)
	connected := make(chan uint64, claims)
	ctx, cancel := context.WithCancel(context.Background())
	for epoch := uint64(1); epoch <= claims; epoch++ {
		go func() {
			up := make(chan bool, 10)
			err := h.Bus("A", epoch, "B").Run(ctx, connectedFunc(func(bool) {
				up <- true
				connected <- epoch
			}))
			outcomes <- outcome{epoch, len(up) > 0, err}
		}()
	}
	for range claims - 1 {
		if o := <-outcomes; !errors.Is(o.err, bus.ErrNameTaken) || o.connected || o.epoch == 1 {
			t.Errorf("epoch %d: connected %v, %v; want only epoch 1 to stay", o.epoch, o.connected, o.err)
		}
	}
	if epoch := <-connected; epoch != 1 {
		t.Errorf("epoch %d was connected, want 1", epoch)
	}
	cancel()
	if o := <-outcomes; o.err != nil {
		t.Errorf("epoch %d: %v", o.epoch, o.err)
	}
}

type connectedFunc func(bool)

func (f connectedFunc) Connected(up bool)                        { f(up) }
func (f connectedFunc) Receive(bus.Message)                      {}
func (f connectedFunc) BatchEnd()                                {}
func (f connectedFunc) AsyncError(string, error)                 {}
func (f connectedFunc) Answer(string, []byte) (bus.Reply, error) { return bus.Reply{}, bus.ErrUnknown }
func (f connectedFunc) Stream(bus.StreamRequest) error           { return bus.ErrUnknown }

// TestSecured: TLS with an authority of our own and an nkey give access, and nothing
// less does.
func TestSecured(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := bustest.WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	seed := filepath.Join(dir, "seed")
	if err := os.WriteFile(seed, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := startServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Nkeys: []*server.NkeyUser{{Nkey: public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	for name, tt := range map[string]struct {
		with func(*natsbus.Config)
		want string // of the log where access is denied
	}{
		"both":    {func(*natsbus.Config) {}, ""},
		"no CA":   {func(c *natsbus.Config) { c.CA = "" }, "certificate"},
		"no seed": {func(c *natsbus.Config) { c.Seed = "" }, "uthorization"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logWatch{seen: make(chan string, 100)}
			cfg := natsbus.Config{
				URLs: []string{"tls://" + s.Addr().String()}, Prefix: "herd", Server: "A", Epoch: 1,
				CA: cert, Seed: seed, Log: slog.New(slog.NewTextHandler(log, nil)),
			}
			tt.with(&cfg)
			connected := make(chan bool, 10)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- natsbus.New(cfg).Run(ctx, connectedHandler(connected)) }()
			for waiting := true; waiting; {
				select {
				case <-connected:
					if tt.want != "" {
						t.Error("access was given")
					}
					waiting = false
				case text := <-log.seen:
					waiting = tt.want == "" || !strings.Contains(text, tt.want)
				case <-time.After(10 * time.Second):
					t.Error("neither connected nor logged why not")
					waiting = false
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// logWatch passes on what is logged.
type logWatch struct{ seen chan string }

func (l *logWatch) Write(p []byte) (int, error) {
	select {
	case l.seen <- string(p):
	default:
	}
	return len(p), nil
}

// slowHandler blocks in Receive until free is closed, and counts messages.
type slowHandler struct {
	connected chan struct{}
	free      chan struct{} // closed when it goes on
	received  chan struct{}
	slow      atomic.Bool
}

func (h *slowHandler) Receive(bus.Message) {
	<-h.free
	h.received <- struct{}{}
}

func (h *slowHandler) BatchEnd() {}

func (h *slowHandler) Answer(string, []byte) (bus.Reply, error) { return bus.Reply{}, bus.ErrUnknown }
func (h *slowHandler) Stream(bus.StreamRequest) error           { return bus.ErrUnknown }

func (h *slowHandler) Connected(up bool) {
	if up {
		h.connected <- struct{}{}
	}
}

func (h *slowHandler) AsyncError(_ string, err error) {
	if errors.Is(err, bus.ErrSlow) {
		h.slow.Store(true)
	}
}

// startPair starts two neighbours on a bus, and returns A. B's handler is h.
func startPair(t *testing.T, h *slowHandler) (a bustest.Bus) {
	t.Helper()
	herd := newHarness(t)
	from := &slowHandler{connected: make(chan struct{}, 9)}
	h.connected = make(chan struct{}, 9)
	a, b := herd.Bus("A", 1, "B"), herd.Bus("B", 2, "A")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	running.Go(func() { a.Run(ctx, from) })
	running.Go(func() { b.Run(ctx, h) })
	<-from.connected
	<-h.connected
	return a
}

func record(number int) bus.Message {
	return bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Seq: uint64(number),
		Data: []byte("AT Goloman +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997\n")}
}

// TestBurst: more messages at once than reader's channel has room for are all received,
// also by a slow handler: the broker keeps them meanwhile.
func TestBurst(t *testing.T) {
	t.Parallel()
	const messages = 20_000
	h := &slowHandler{free: make(chan struct{}), received: make(chan struct{}, messages)}
	a := startPair(t, h)
	batch := make([]bus.Message, messages)
	for i := range batch {
		batch[i] = record(i + 1)
	}
	if err := a.Send(batch...); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { close(h.free) })
	for i := range messages {
		select {
		case <-h.received:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d messages were received; slow: %v", i, messages, h.slow.Load())
		}
	}
}
