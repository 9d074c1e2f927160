package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"herd/bus"
)

func fakeConfig(t *testing.T, b *fakeBroker) Config {
	return Config{URLs: []string{b.url()}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, Log: testLog(t)}
}

// TestMaxDataFollowsTheBroker: MaxData is the broker's limit, also when it announces
// another one.
func TestMaxDataFollowsTheBroker(t *testing.T) {
	t.Parallel()
	broker := startFakeBroker(t, nil)
	b := New(fakeConfig(t, broker))
	if got, want := b.MaxData(), 1<<20-maxHeader; got != want {
		t.Errorf("MaxData before Run = %d, want %d", got, want)
	}
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	broker.say("INFO {\"proto\":1,\"max_payload\":5000,\"headers\":true}\r\n")
	eventually(t, "the new limit", func() bool { return b.MaxData() == 5000-maxHeader })
	m := bus.Message{Lane: bus.Records, Peer: "B", Data: make([]byte, 5000)}
	if err := b.Send(m); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("Send of %d bytes = %v, want ErrTooLarge", len(m.Data), err)
	}
}

// TestUncertain: of messages whose write did not end in time nobody knows whether they
// leave, and Send says so; of later ones it says that they do not. In the end the former
// do.
func TestUncertain(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	broker := startFakeBroker(t, nil)
	proxy := make(chan *stoppable, 1)
	go func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", broker.address)
		if err != nil {
			t.Error(err)
			return
		}
		p := &stoppable{flow: make(chan struct{}, 1)}
		p.flow <- struct{}{}
		proxy <- p
		go p.copy(near, far)
		p.copyAll(far, near)
	}()
	cfg := fakeConfig(t, broker)
	cfg.URLs = []string{"nats://" + ln.Addr().String()}
	b := New(cfg)
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	p := <-proxy
	<-p.flow // the broker reads nothing any more
	m := bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Data: make([]byte, b.MaxData())}
	var uncertain uint64 // the last message that was
	refused := 0         // messages since then
	// Until all buffers between us are full. The kernel may enlarge them, so another write may begin after some messages were refused.
	for i := 0; refused < 4; i++ {
		if m.Seq = uint64(i); i == 100 {
			t.Fatal("100 MB were sent to a broker that reads nothing")
		}
		began := time.Now()
		if err = b.Send(m); time.Since(began) > 2*writeTimeout+time.Second {
			t.Errorf("Send took %v", time.Since(began))
		}
		switch {
		case errors.Is(err, bus.ErrUncertain):
			if uncertain, refused = m.Seq, 0; errors.Is(err, bus.ErrDisconnected) {
				t.Errorf("Send whose write timed out = %v, want ErrUncertain alone", err)
			}
		case errors.Is(err, bus.ErrDisconnected):
			refused++
			if err := b.PublishEvent("up", "B", "x"); !errors.Is(err, bus.ErrDisconnected) {
				t.Errorf("PublishEvent while the broker reads nothing = %v, want ErrDisconnected", err)
			}
		case err != nil:
			t.Fatalf("Send while the broker reads nothing = %v, want ErrDisconnected", err)
		default:
			refused = 0
		}
	}
	if uncertain == 0 {
		t.Errorf("Send whose write timed out = %v, want ErrUncertain", err)
	}
	last := fmt.Sprintf("%s: %d", bus.SeqHeader, uncertain)
	never := fmt.Sprintf("%s: %d", bus.SeqHeader, uncertain+1)
	p.flow <- struct{}{}
	eventually(t, "the message that was uncertain", func() bool { return p.saw(last) })
	if p.saw(never) {
		t.Error("a message was written of which Send said that it was not")
	}
}

// TestAskDenied: an error of Ask is bus.ErrDenied where the broker does not let us ask,
// and no other is.
func TestAskDenied(t *testing.T) {
	t.Parallel()
	on := func(verb, reply string) func(string) string {
		return func(line string) string {
			if strings.HasPrefix(line, verb) {
				return reply + "\r\n"
			}
			return ""
		}
	}
	for name, tt := range map[string]struct {
		answer func(line string) string
		denied bool
	}{
		"publish denied":   {on("PUB", `-ERR 'Permissions Violation for Publish to "herd.status"'`), true},
		"subscribe denied": {on("SUB", `-ERR 'Permissions Violation for Subscription to "_INBOX.x"'`), true},
		"not authorized":   {on("CONNECT", `-ERR 'Authorization Violation'`), true},
		"expired":          {on("PUB", `-ERR 'User Authentication Expired'`), true},
		"too many":         {on("SUB", `-ERR 'Maximum Subscriptions Exceeded'`), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := startFakeBroker(t, func(b *fakeBroker) { b.answer = tt.answer })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := Ask(ctx, fakeConfig(t, broker), statusEndpoint, nil, func(Reply) bool { return true })
			if err == nil || errors.Is(err, bus.ErrDenied) != tt.denied {
				t.Errorf("Ask = %v, want an error, of ErrDenied: %v", err, tt.denied)
			}
		})
	}
}

// TestPublishByNATS: what nats.go has to write is waited for while the connection lives,
// and no longer, also when nats.go's lock is held. What is published later does not
// overtake it.
func TestPublishByNATS(t *testing.T) {
	t.Parallel()
	broker := startFakeBroker(t, nil)
	dialling, release := make(chan bool, 1), make(chan struct{})
	d := &watchedDialer{onDial: func(count int) {
		if count == 2 {
			dialling <- true
			<-release
		}
	}}
	nc := connect(t, d, broker.url())
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	expect(t, "dialling, with nats.go's lock held", dialling, true)

	p := newPublisher()
	p.conn.Store(nc)
	newConnection := func() *socket {
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		s := newSocket(near)
		p.socket.Store(s)
		return s
	}
	publish := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			done <- p.publish(func(bus.Message) string { return "herd.edge.A.B" }, bus.Message{Data: []byte("x")})
		}()
		select {
		case err := <-done:
			t.Errorf("publish while nats.go dials = %v, on a connection that lives", err)
		case <-time.After(50 * time.Millisecond): // time in which it must not return
		}
		return done
	}
	for _, want := range []error{bus.ErrUncertain, bus.ErrDisconnected} { // the second waits for the first
		s := newConnection()
		done := publish()
		s.Close()
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				t.Errorf("publish on a connection that is lost = %v, want %v", err, want)
			}
		case <-time.After(patience):
			t.Error("publish waits for nats.go to dial")
		}
	}
	newConnection()
	done := publish()
	close(release)
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("publish does not return")
	}
}

// TestHeaders: nats.go and appendMessage write a message alike.
func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, m := range []bus.Message{
		{Lane: bus.Heartbeat, Data: []byte("beat")},
		{Lane: bus.Records, Epoch: 1<<64 - 1, Seq: 1<<64 - 1, Data: []byte("line\n")},
		{Lane: bus.Stream, Epoch: 1<<64 - 1, Seq: 1<<64 - 1, SnapshotEnd: true, Data: []byte("line\n")},
		{Lane: bus.Stream, Epoch: 1<<64 - 1, Seq: 1<<64 - 1, End: true},
		{Lane: bus.Stream, Epoch: 7, Seq: 0},
	} {
		msg := newMessage("subject", m)
		text := string(appendMessage(nil, "subject", m))
		size := 0
		for key := range msg.Header {
			header := key + ": " + msg.Header.Get(key) + "\r\n"
			size += len(header)
			if !strings.Contains(text, header) {
				t.Errorf("%s message %q has no header %q", m.Lane, text, header)
			}
		}
		if size > 0 {
			size += len("NATS/1.0\r\n\r\n")
		}
		if verb := fmt.Sprintf("PUB subject %d\r\n", len(m.Data)); size == 0 && !strings.HasPrefix(text, verb) {
			t.Errorf("%s message %q does not begin with %q", m.Lane, text, verb)
		} else if verb := fmt.Sprintf("HPUB subject %d %d\r\n", size, size+len(m.Data)); size > 0 && !strings.HasPrefix(text, verb) {
			t.Errorf("%s message %q does not begin with %q", m.Lane, text, verb)
		}
		if size > maxHeader {
			t.Errorf("%s message has a header of %d bytes, more than maxHeader", m.Lane, size)
		}
	}
}
