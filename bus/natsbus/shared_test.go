package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus"
)

// sharer answers requests at a shared endpoint.
type sharer struct {
	*receiver
	answer func(request string) (bus.Reply, error)
}

func (s sharer) Answer(_ string, request []byte) (bus.Reply, error) { return s.answer(string(request)) }

// startSharer starts a server with a shared endpoint, which it has not joined.
func startSharer(t *testing.T, url, name string, answer func(request string) (bus.Reply, error)) (*Bus, *receiver) {
	b := New(Config{URLs: []string{url}, Prefix: "herd", Server: name, Epoch: 1, Log: testLog(t), Service: Service{Endpoints: []bus.Endpoint{nearEndpoint}}})
	h := newReceiver()
	start(t, b, sharer{h, answer})
	expect(t, name, h.connected, true)
	return b, h
}

func replyFrom(name string) func(string) (bus.Reply, error) {
	return func(request string) (bus.Reply, error) { return bus.Reply{Data: []byte(name + " " + request)}, nil }
}

// requestJoined requests until a server has joined.
func requestJoined(t *testing.T, url, request string) (Reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		reply, err := RequestShared(ctx, Config{URLs: []string{url}, Prefix: "herd"}, nearEndpoint, []byte(request))
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "no server is ready") {
			return reply, err
		}
		time.Sleep(time.Millisecond)
	}
}

// TestShared: one of the servers that have joined answers each request.
func TestShared(t *testing.T) {
	t.Parallel()
	url := startServer(t, &server.Options{}).ClientURL()
	a, _ := startSharer(t, url, "A", replyFrom("A"))
	b, _ := startSharer(t, url, "B", replyFrom("B"))
	startSharer(t, url, "C", replyFrom("C")) // never joins
	if _, err := RequestShared(t.Context(), Config{URLs: []string{url}, Prefix: "herd"}, nearEndpoint, nil); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("nobody has joined: %v, want ErrUnavailable", err)
	}
	a.JoinShared()
	a.JoinShared()
	b.JoinShared()
	if reply, err := requestJoined(t, url, "x"); err != nil || reply.Server == "C" || string(reply.Data) != reply.Server+" x" {
		t.Errorf("%+v, %v", reply, err)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	inbox, err := nc.SubscribeSync("inbox")
	if err != nil {
		t.Fatal(err)
	}
	const requests = 100
	for i := range requests {
		if err := nc.PublishRequest("herd.near", "inbox", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for range requests {
		m, err := inbox.NextMsg(patience)
		if err != nil {
			t.Fatalf("%d of %d replies: %v", len(got), requests, err)
		}
		_, request, _ := strings.Cut(string(m.Data), " ")
		if m.Header.Get(ServerHeader) == "C" || slices.Contains(got, request) {
			t.Errorf("reply %q", m.Data)
		}
		got = append(got, request)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := inbox.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("one reply more: %q", m.Data)
	}
}

// TestSharedReplies: errors have their codes, and replies their headers. Requests are answered
// at the same time.
func TestSharedReplies(t *testing.T) {
	t.Parallel()
	url := startServer(t, &server.Options{}).ClientURL()
	var both sync.WaitGroup
	both.Add(2)
	a, _ := startSharer(t, url, "A", func(request string) (bus.Reply, error) {
		switch request {
		case "unknown":
			return bus.Reply{}, fmt.Errorf("%w: because", bus.ErrUnknown)
		case "malformed":
			return bus.Reply{}, errors.New("because")
		case "both":
			both.Done()
			both.Wait()
		}
		return bus.Reply{Data: []byte("x"), Header: map[string]string{bus.LeftOutHeader: "7"}}, nil
	})
	a.JoinShared()
	if reply, err := requestJoined(t, url, ""); err != nil || reply.LeftOut != 7 || string(reply.Data) != "x" || reply.Server != "A" {
		t.Errorf("%+v, %v", reply, err)
	}
	if _, err := requestJoined(t, url, "unknown"); !errors.Is(err, bus.ErrUnknown) || !strings.Contains(err.Error(), "because") {
		t.Errorf("%v, want ErrUnknown", err)
	}
	if _, err := requestJoined(t, url, "malformed"); err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), "because") {
		t.Errorf("%v, want code 400", err)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if _, err := requestJoined(t, url, "both"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestSharedAfterReconnect: a server that has joined, also before it ran, answers on each later
// connection.
func TestSharedAfterReconnect(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	url, address := s.ClientURL(), s.Addr().String()
	b := New(Config{URLs: []string{url}, Prefix: "herd", Server: "A", Epoch: 1, Log: testLog(t), Service: Service{Endpoints: []bus.Endpoint{nearEndpoint}}})
	b.JoinShared()
	h := newReceiver()
	start(t, b, sharer{h, replyFrom("A")})
	expect(t, "connected", h.connected, true)
	if reply, err := requestJoined(t, url, "1"); err != nil || string(reply.Data) != "A 1" {
		t.Errorf("%+v, %v", reply, err)
	}
	s.Shutdown()
	s.WaitForShutdown()
	expect(t, "disconnected", h.connected, false)
	startServerAt(t, address, &server.Options{})
	expect(t, "connected again", h.connected, true)
	if reply, err := requestJoined(t, url, "2"); err != nil || string(reply.Data) != "A 2" {
		t.Errorf("%+v, %v", reply, err)
	}
}

var nearEndpoint = bus.Endpoint{Name: "near", Answers: bus.AnswerOne}
