package natsbus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

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

// TestClaimsAtOnce: of several processes that want one name at the same time the
// one that started first gets it, and the others end, without a moment's doubt:
// none of them was connected.
func TestClaimsAtOnce(t *testing.T) {
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

func (f connectedFunc) Connected(up bool)     { f(up) }
func (f connectedFunc) Receive(bus.Message)   {}
func (f connectedFunc) Trouble(string, error) {}

// TestSecured: TLS with an authority of our own, and an nkey; without either there
// is no way in.
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
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true,
		TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Nkeys: []*server.NkeyUser{{Nkey: public}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	for name, tt := range map[string]struct {
		with func(*natsbus.Config)
		want string // of the log where there is no way in
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
						t.Error("there was a way in")
					}
					waiting = false
				case text := <-log.seen:
					waiting = tt.want == "" || !strings.Contains(text, tt.want)
				case <-time.After(10 * time.Second):
					t.Error("neither connected nor told why not")
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

// logWatch hands on what is logged.
type logWatch struct{ seen chan string }

func (l *logWatch) Write(p []byte) (int, error) {
	select {
	case l.seen <- string(p):
	default:
	}
	return len(p), nil
}

// slowHandler takes its time over the first message, and counts them.
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

func (h *slowHandler) Connected(up bool) {
	if up {
		h.connected <- struct{}{}
	}
}

func (h *slowHandler) Trouble(_ string, err error) {
	if errors.Is(err, bus.ErrSlow) {
		h.slow.Store(true)
	}
}

// TestBurst: more messages at once than an intake has room for are all received, if
// the receiver is slow for no more than a moment.
func TestBurst(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const messages = 5000
	from, to := &slowHandler{connected: make(chan struct{}, 9)}, &slowHandler{
		connected: make(chan struct{}, 9), free: make(chan struct{}), received: make(chan struct{}, messages),
	}
	a, b := h.Bus("A", 1, "B"), h.Bus("B", 2, "A")
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { a.Run(ctx, from) })
	running.Go(func() { b.Run(ctx, to) })
	<-from.connected
	<-to.connected
	record := []byte("AT Goloman +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997\n")
	batch := make([]bus.Message, messages)
	for i := range batch {
		batch[i] = bus.Message{Lane: bus.Edge, Peer: "B", Epoch: 1, Seq: uint64(i + 1), Data: record}
	}
	if err := a.Send(batch...); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { close(to.free) })
	for i := range messages {
		select {
		case <-to.received:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of %d messages were received; slow: %v", i, messages, to.slow.Load())
		}
	}
}
