package natsbus

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus"
)

// startFlooded starts A and B, neighbours, and a tool on their broker. answer is B's.
func startFlooded(t *testing.T, answer func(request []byte) ([]byte, error)) (a *Bus, b *receiver, tool *nats.Conn) {
	t.Helper()
	url := startServer(t, &server.Options{}).ClientURL()
	for _, name := range []string{"A", "B"} {
		peer := map[string]string{"A": "B", "B": "A"}[name]
		server := New(Config{
			URLs: []string{url}, Prefix: "herd", Server: name, Neighbours: []string{peer}, Epoch: 1, Log: testLog(t),
			Service: Service{Endpoints: []bus.Endpoint{statusEndpoint}},
		})
		h := newReceiver()
		h.errors = make(chan error, 100)
		var handler bus.Handler = h // it knows no endpoint
		if name == "A" {
			a = server
		} else {
			b, handler = h, answerer{h, func(_ string, request []byte) ([]byte, error) { return answer(request) }}
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- server.Run(ctx, handler) }()
		t.Cleanup(func() {
			stop()
			<-done
		})
		expect(t, name, h.connected, true)
	}
	tool, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tool.Close)
	return a, b, tool
}

// TestRequestsWaiting: a bounded number of requests wait for answers. Others are dropped,
// which is no gap of an edge, and edges go on meanwhile.
func TestRequestsWaiting(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var answered atomic.Int64
	last := make(chan bool, 1)
	a, b, tool := startFlooded(t, func(request []byte) ([]byte, error) {
		<-release
		answered.Add(1)
		if string(request) == "last" {
			last <- true
		}
		return nil, nil
	})
	received := make(chan string, 1)
	b.handle(func(m bus.Message) { received <- string(m.Data) })
	for range 5 * maxRequestsWaiting {
		if err := tool.Publish("herd.status", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := tool.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	const record = "AT A +1 kiwi +1+1 1\n"
	if err := a.Send(bus.Message{Lane: bus.Records, Peer: "B", Epoch: 1, Seq: 1, Data: []byte(record)}); err != nil {
		t.Fatal(err)
	}
	expect(t, "B received from its neighbour", received, record) // behind all requests
	close(release)
	for sent := false; !sent; { // dropped while there is no room
		if err := tool.Publish("herd.status", []byte("last")); err != nil {
			t.Fatal(err)
		}
		select {
		case sent = <-last:
		case <-time.After(10 * time.Millisecond):
		}
	}
	if n := answered.Load(); n < maxRequestsWaiting || n > 2*maxRequestsWaiting {
		t.Errorf("%d requests answered, want about %d", n, maxRequestsWaiting)
	}
	select {
	case err := <-b.errors:
		t.Errorf("B reported %v", err)
	default:
	}
}

// TestBusyAnswers: when there are too many requests, only some are told so.
func TestBusyAnswers(t *testing.T) {
	t.Parallel()
	_, _, tool := startFlooded(t, func(request []byte) ([]byte, error) {
		if string(request) == "last" {
			return []byte("last"), nil
		}
		return nil, bus.ErrBusy
	})
	answers, err := tool.SubscribeSync("tool")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const requests = maxRequestsWaiting / 2 // none is dropped before
	for i := range requests + 1 {
		text := ""
		if i == requests {
			text = "last"
		}
		if err := tool.PublishRequest("herd.status", "tool", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	busy := 0
	for {
		m, err := answers.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get(ServerHeader) != "B" {
			continue
		}
		if string(m.Data) == "last" {
			break
		}
		if code := m.Header.Get("Nats-Service-Error-Code"); code != "429" {
			t.Errorf("code %q, want 429", code)
		}
		busy++
	}
	if most := busyAnswers * (1 + int(time.Since(began)/time.Second) + 1); busy < busyAnswers || busy > most {
		t.Errorf("%d of %d requests were told that there are too many, want %d to %d", busy, requests, busyAnswers, most)
	}
}
