package natsbus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"herd/bus"
	"herd/bus/bustest"
	"herd/bus/natsbus"
)

// silentListener accepts connections and never says a word on them: a NATS client
// that dials it waits for its INFO until the handshake times out.
type silentListener struct {
	url      string
	accepted chan struct{}
}

func listenSilently(t *testing.T) silentListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := silentListener{url: "nats://" + ln.Addr().String(), accepted: make(chan struct{}, 100)}
	done := make(chan struct{})
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			s.accepted <- struct{}{}
		}
	}()
	return s
}

// TestOutage: while nats.go dials the next broker, which it does with its lock held,
// nothing that a server calls waits for it, the server is told at once that it is
// disconnected, and a stop ends the dial.
func TestOutage(t *testing.T) {
	for name, options := range map[string]func(t *testing.T, o *server.Options) (ca string){
		"TCP": func(*testing.T, *server.Options) string { return "" },
		"TLS": func(t *testing.T, o *server.Options) string {
			cert, key, err := bustest.WriteCertificate(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			o.TLS, o.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{pair}}
			return cert
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit = 100 * time.Millisecond
			o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT}
			ca := options(t, o)
			first, err := startServer(o)
			if err != nil {
				t.Fatal(err)
			}
			defer first.Shutdown()
			second := listenSilently(t)
			b := natsbus.New(natsbus.Config{
				URLs: []string{first.ClientURL(), second.url}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, CA: ca, Log: testLog(t),
			})
			connected := make(chan bool, 10)
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			done := make(chan error, 1)
			go func() { done <- b.Run(ctx, connectedHandler(connected)) }()
			if !<-connected {
				t.Fatal("Connected(false) came first")
			}
			for len(second.accepted) > 0 { // where nats.go tried the second broker first
				<-second.accepted
			}
			// Shutdown waits until the clients are gone, and so for nats.go.
			go first.Shutdown()
			select {
			case <-second.accepted: // nats.go's lock is held for the next 2 s
			case <-time.After(10 * time.Second):
				t.Fatal("the second broker was not dialled")
			}
			began := time.Now()
			for range 10 {
				if err := b.Send(bus.Message{Lane: bus.Heartbeat, Peer: "B", Data: []byte("x")}); !errors.Is(err, bus.ErrDisconnected) {
					t.Errorf("Send = %v, want ErrDisconnected", err)
				}
				if err := b.PublishEvent("stop", "", "x"); !errors.Is(err, bus.ErrDisconnected) {
					t.Errorf("PublishEvent = %v, want ErrDisconnected", err)
				}
				if b.MaxData() <= 0 {
					t.Error("MaxData is not positive")
				}
			}
			if took := time.Since(began); took > limit {
				t.Errorf("ten Sends, ten PublishEvents and ten times MaxData took %v, want %v together", took, limit)
			}
			began = time.Now()
			if <-connected || time.Since(began) > limit {
				t.Errorf("Connected(false) came %v later, want %v", time.Since(began), limit)
			}
			began = time.Now()
			stop()
			if err := <-done; err != nil || time.Since(began) > time.Second {
				t.Errorf("Run returned %v after %v, want nil within 1s", err, time.Since(began))
			}
		})
	}
}
