package natsbus

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/bustest"
)

// What this package needs of nats.go beyond its documentation. Where one of these tests
// fails after an upgrade of nats.go, socket, publisher or reader is no longer right.

// connect connects as Run does, as far as the data path is concerned.
func connect(t *testing.T, d nats.CustomDialer, url string, more ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append(dataPathOptions(d), more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestOneWritePerMessage: nats.go writes each message of its protocol in one Write, so
// that socket may write others between any two Writes; and it does so before the call
// returns, so that what was published in between cork and uncork leaves at uncork.
func TestOneWritePerMessage(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var written []byte
	d := &watchedDialer{onWrite: func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		written = append(written, b...)
		if err := wholeMessages(b); err != nil {
			t.Errorf("a Write of %d bytes, %.60q…: %v", len(b), b, err)
		}
	}}
	wrote := func(text string) bool {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Contains(written, []byte(text))
	}
	nc := connect(t, d, startFakeBroker(t, nil).url())
	var publishing sync.WaitGroup
	for i := range 4 {
		publishing.Go(func() {
			for _, size := range []int{0, 1, 100, 4 << 10, 32<<10 - 1, 64 << 10, 1<<20 - maxHeader} {
				subject := fmt.Sprintf("herd.edge.A.%d.%d", i, size)
				m := &nats.Msg{Subject: subject, Data: bytes.Repeat([]byte("x"), size)}
				if i%2 == 0 {
					m.Header = nats.Header{bus.EpochHeader: {"1"}, bus.SeqHeader: {"2"}}
				}
				if err := nc.PublishMsg(m); err != nil {
					t.Error(err)
				}
				if !wrote("PUB " + subject + " ") {
					t.Errorf("PublishMsg of %d bytes returned before it was written", size)
				}
				if err := nc.PublishRequest(subject, nc.NewInbox(), m.Data); err != nil {
					t.Error(err)
				}
				s, err := nc.SubscribeSync(subject)
				if err != nil {
					t.Error(err)
					return
				}
				if err := nc.FlushTimeout(patience); err != nil {
					t.Error(err)
				}
				if err := s.Unsubscribe(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	publishing.Wait()
}

// wholeMessages is an error if b does not consist of whole messages of a client's.
func wholeMessages(b []byte) error {
	for len(b) > 0 {
		line, rest, found := bytes.Cut(b, []byte("\r\n"))
		if !found {
			return errors.New("a line has no end")
		}
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			return errors.New("a line is empty")
		}
		switch fields[0] {
		case "CONNECT", "PING", "PONG", "SUB", "UNSUB":
		case "PUB", "HPUB":
			size, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				return err
			}
			if len(rest) < size+2 || string(rest[size:size+2]) != "\r\n" {
				return fmt.Errorf("%s of %d bytes has %d", fields[0], size, len(rest)-2)
			}
			rest = rest[size+2:]
		default:
			return fmt.Errorf("it begins in the middle of a message")
		}
		b = rest
	}
	return nil
}

// goroutine is the number of this goroutine.
func goroutine() string {
	b := make([]byte, 100)
	return strings.Fields(string(b[:runtime.Stack(b, false)]))[1]
}

// TestReadsInOneGoroutine: one goroutine does all reads of an established connection,
// and before it reads again the messages of the last read are in the channel, of all
// subscriptions in the order in which they came. So reader may drain the channel there.
func TestReadsInOneGoroutine(t *testing.T) {
	t.Parallel()
	const messages = 2000
	var mu sync.Mutex
	var read []byte
	done := false
	readers := map[string]bool{}
	channel := make(chan *nats.Msg, messages)
	d := &watchedDialer{
		onRead: func() {
			mu.Lock()
			defer mu.Unlock()
			whole := bytes.Count(read, []byte(" end\r\n"))
			if whole == 0 || done {
				return
			}
			readers[goroutine()] = true
			if got := len(channel); got != whole {
				t.Errorf("%d messages were read, and %d are in the channel before the next read", whole, got)
			}
		},
		wasRead: func(b []byte) {
			mu.Lock()
			defer mu.Unlock()
			read = append(read, b...)
		},
	}
	b := startFakeBroker(t, nil)
	nc := connect(t, d, b.url())
	subjects := []string{"one", "two", "three"}
	for _, subject := range subjects {
		if _, err := nc.ChanSubscribe(subject, channel); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i := range messages {
		all.WriteString(b.message(subjects[i%len(subjects)], fmt.Sprintf("%d %s end", i, strings.Repeat("x", i%300))))
	}
	b.say(all.String())
	eventually(t, "all messages", func() bool { return len(channel) == messages })
	if err := nc.FlushTimeout(patience); err != nil { // one more read
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	done = true
	if len(readers) != 1 {
		t.Errorf("%d goroutines read, want 1", len(readers))
	}
	for i := range messages {
		if m := <-channel; !strings.HasPrefix(string(m.Data), fmt.Sprint(i, " ")) || m.Subject != subjects[i%len(subjects)] {
			t.Fatalf("message %d is %.10q on %s", i, m.Data, m.Subject)
		}
	}
}

// TestReconnectWhileReceiving: a handler that publishes while the connection is lost and
// made again is not held up by that, nor holds it up.
func TestReconnectWhileReceiving(t *testing.T) {
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		options *server.Options
		ca      string
	}{
		"TCP": {&server.Options{}, ""},
		"TLS": {&server.Options{TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}, cert},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, tt.options)
			member := func(server, peer string, epoch uint64) *Bus {
				return New(Config{
					URLs: []string{s.ClientURL()}, Prefix: "herd", Server: server, Neighbours: []string{peer}, Epoch: epoch, CA: tt.ca, Log: testLog(t),
				})
			}
			a, b := member("A", "B", 1), member("B", "A", 2)
			toA, toB := newReceiver(), newReceiver()
			handling, release := make(chan bool, 1), make(chan struct{})
			toB.onReceive = func(m bus.Message) {
				if string(m.Data) != "hold" {
					return
				}
				handling <- true
				for done := false; !done; time.Sleep(time.Millisecond) {
					select {
					case <-release:
						done = true
					default:
					}
					began := time.Now()
					errs := errors.Join(b.Send(bus.Message{Lane: bus.Records, Peer: "A", Data: []byte("x")}), b.PublishEvent("up", "A", "x"))
					if took := time.Since(began); took > 2*writeTimeout+time.Second {
						t.Errorf("Send and PublishEvent took %v: %v", took, errs)
					}
				}
			}
			start(t, a, toA)
			start(t, b, toB)
			expect(t, "A", toA.connected, true)
			expect(t, "B", toB.connected, true)
			if err := a.Send(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("hold")}); err != nil {
				t.Fatal(err)
			}
			expect(t, "the handler", handling, true)
			b.publisher.socket.Load().Close()
			time.Sleep(300 * time.Millisecond) // so that nats.go would be in the middle of it
			close(release)
			expect(t, "B", toB.connected, false)
			expect(t, "B", toB.connected, true)
		})
	}
}

// TestDialerMakesAllConnections: nats.go makes its connection with our dialer, also with
// TLS and WebSocket, and makes no other: it does not reconnect by itself.
func TestDialerMakesAllConnections(t *testing.T) {
	t.Parallel()
	cert, key, err := bustest.WriteCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		options *server.Options
		url     func(s *server.Server) string
		more    []nats.Option
	}{
		"TLS":       {&server.Options{TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}, (*server.Server).ClientURL, []nats.Option{nats.RootCAs(cert)}},
		"WebSocket": {&server.Options{Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoTLS: true}}, (*server.Server).WebsocketURL, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, tt.options)
			d := &watchedDialer{}
			nc := connect(t, d, tt.url(s), tt.more...)
			conns, err := s.Connz(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, conn := range conns.Conns {
				s.DisconnectClientByID(conn.Cid)
			}
			eventually(t, "the connection is closed for good", nc.IsClosed)
			varz, err := s.Varz(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(d.dialled()); got != 1 || varz.TotalConnections != 1 {
				t.Errorf("%d connections were dialled and %d accepted, want 1", got, varz.TotalConnections)
			}
		})
	}
}
