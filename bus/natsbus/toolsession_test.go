package natsbus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"herd/bus"
)

// TestToolSession: one connection asks all servers, learns of their services, and subscribes, until it is closed or
// the broker ends.
func TestToolSession(t *testing.T) {
	t.Parallel()
	broker := startServer(t, &server.Options{})
	cfg := startAnswering(t, broker.ClientURL())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := DialTool(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	replies := make(chan Reply, 10)
	stop, err := s.Ask(statusEndpoint, []byte("x"), func(r Reply) { replies <- r })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for range 2 {
		r := receive(t, "a reply", replies)
		got[r.Server] = string(r.Data)
	}
	if got["A"] != "A status x" || got["B"] != "B status x" {
		t.Errorf("replies %q", got)
	}
	stop()
	metadata := make(chan map[string]string, 10)
	if _, err := s.Info(func(m map[string]string) { metadata <- m }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m := receive(t, "metadata", metadata); m["herd"] != "yes" {
			t.Errorf("metadata %q", m)
		}
	}
	events := make(chan string, 10)
	stop, err = s.Subscribe("herd.event.>", func(subject string, data []byte) { events <- subject + " " + string(data) })
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"1", "2"} {
		if err := s.nc.Publish("herd.event.A.down.B", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, "an event", events); got != "herd.event.A.down.B "+text {
			t.Errorf("event %q", got)
		}
		if text == "1" {
			continue
		}
		stop()
	}
	if len(replies) > 0 {
		t.Error("a reply after stop")
	}
	if s.Err() != nil {
		t.Errorf("Err = %v while connected", s.Err())
	}
	broker.Shutdown()
	receive(t, "the end", s.Done())
	if s.Err() == nil {
		t.Error("no error after the broker has ended")
	}
	if _, err := s.Ask(statusEndpoint, nil, func(Reply) {}); err == nil {
		t.Error("Ask succeeds without a broker")
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := DialTool(short, cfg); err == nil {
		t.Error("DialTool succeeds without a broker")
	}
}

// TestToolSessionDenied: what the broker denies ends the session, with an error that says so.
func TestToolSessionDenied(t *testing.T) {
	t.Parallel()
	broker := startServer(t, &server.Options{
		Users:      []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}}}}},
		NoAuthUser: "u",
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := DialTool(ctx, Config{URLs: []string{broker.ClientURL()}, Prefix: "herd"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Subscribe("herd.event.>", func(string, []byte) {}); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end", s.Done())
	if !errors.Is(s.Err(), bus.ErrDenied) {
		t.Errorf("Err = %v, want denied", s.Err())
	}
}
