package natsbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus"
)

var followEndpoint = bus.Endpoint{Name: "follow", Answers: bus.AnswerNamed, Stream: true}

// streamer takes requests of streams.
type streamer struct {
	*receiver
	requests chan bus.StreamRequest
	refuse   error // the answer to each
}

func (s streamer) Stream(r bus.StreamRequest) error {
	s.requests <- r
	return s.refuse
}

// startStreaming starts server A, without neighbours, and returns it.
func startStreaming(t *testing.T, url string, refuse error) (*Bus, streamer, Config) {
	t.Helper()
	b := New(Config{
		URLs: []string{url}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, Log: testLog(t),
		Service: Service{Endpoints: []bus.Endpoint{followEndpoint}},
	})
	s := streamer{newReceiver(), make(chan bus.StreamRequest, 100), refuse}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, s) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	expect(t, "A", s.connected, true)
	return b, s, Config{URLs: []string{url}, Prefix: "herd"}
}

// TestFollow: frames arrive as they were sent, what was taken is confirmed, and the stream is ended with ctx.
func TestFollow(t *testing.T) {
	t.Parallel()
	b, s, cfg := startStreaming(t, startServer(t, &server.Options{}).ClientURL(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	frames, done := make(chan Frame, 10), make(chan error, 1)
	go func() {
		done <- Follow(ctx, cfg, followEndpoint, "A", []byte("what"), func(f Frame) error {
			frames <- f
			return nil
		})
	}()
	first := receive(t, "the request", s.requests)
	if string(first.Data) != "what" || first.To == "" || first.ID == "" || first.End || first.Ack != 0 || first.Endpoint != "follow" {
		t.Fatalf("first request = %+v", first)
	}
	large := bytes.Repeat([]byte("x"), confirmBytes)
	for i, data := range [][]byte{[]byte("one\n"), large} {
		m := bus.Message{Lane: bus.Stream, Peer: first.To, Epoch: 1 << 63, Seq: uint64(i) + 1, SnapshotEnd: i == 1, Data: data}
		if err := b.Send(m); err != nil {
			t.Fatal(err)
		}
		got := receive(t, "a frame", frames)
		if got.Epoch != m.Epoch || got.Seq != m.Seq || got.SnapshotEnd != m.SnapshotEnd || !bytes.Equal(got.Data, data) {
			t.Fatalf("frame %d = %d %d %v and %d bytes", i, got.Epoch, got.Seq, got.SnapshotEnd, len(got.Data))
		}
	}
	if ack := receive(t, "the confirmation", s.requests); ack.Ack != 2 || ack.ID != first.ID || ack.To != "" || ack.End {
		t.Errorf("second request = %+v, want a confirmation of frame 2", ack)
	}
	cancel()
	if err := receive(t, "Follow", done); err != nil {
		t.Errorf("Follow = %v", err)
	}
	if end := receive(t, "the end", s.requests); !end.End || end.ID != first.ID || end.To != "" {
		t.Errorf("last request = %+v, want the end", end)
	}
}

// TestFollowErrors: what a follower is told when it is refused, when no server is there, when the server is silent, and when
// taking fails.
func TestFollowErrors(t *testing.T) {
	t.Parallel()
	ignore := func(Frame) error { return nil }
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		_, _, cfg := startStreaming(t, startServer(t, &server.Options{}).ClientURL(), fmt.Errorf("%w: full", bus.ErrBusy))
		if err := Follow(t.Context(), cfg, followEndpoint, "A", nil, ignore); !errors.Is(err, bus.ErrBusy) || !strings.Contains(err.Error(), "full") {
			t.Errorf("Follow = %v, want the server's error", err)
		}
	})
	t.Run("no server", func(t *testing.T) {
		t.Parallel()
		_, _, cfg := startStreaming(t, startServer(t, &server.Options{}).ClientURL(), nil)
		if err := Follow(t.Context(), cfg, followEndpoint, "B", nil, ignore); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "no server B") {
			t.Errorf("Follow of a server that is not there = %v", err)
		}
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		_, _, cfg := startStreaming(t, startServer(t, &server.Options{}).ClientURL(), nil)
		if err := Follow(t.Context(), cfg, followEndpoint, "A", nil, ignore); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "nothing was received") {
			t.Errorf("Follow of a silent server = %v", err)
		}
	})
	t.Run("ended by the server", func(t *testing.T) {
		t.Parallel()
		b, s, cfg := startStreaming(t, startServer(t, &server.Options{}).ClientURL(), nil)
		done := make(chan error, 1)
		go func() { done <- Follow(t.Context(), cfg, followEndpoint, "A", nil, ignore) }()
		first := receive(t, "the request", s.requests)
		if err := b.Send(bus.Message{Lane: bus.Stream, Peer: first.To, Epoch: 1, Seq: 1, Data: []byte("line\n")}, bus.Message{Lane: bus.Stream, Peer: first.To, Epoch: 1, Seq: 1, End: true}); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, "Follow", done); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "ended the stream") {
			t.Errorf("Follow of a stream that the server has ended = %v", err)
		}
	})
	t.Run("not taken", func(t *testing.T) {
		t.Parallel()
		b, s, cfg := startStreaming(t, startServer(t, &server.Options{}).ClientURL(), nil)
		full := errors.New("full")
		done := make(chan error, 1)
		go func() { done <- Follow(t.Context(), cfg, followEndpoint, "A", nil, func(Frame) error { return full }) }()
		first := receive(t, "the request", s.requests)
		if err := b.Send(bus.Message{Lane: bus.Stream, Peer: first.To, Epoch: 1, Seq: 1}); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, "Follow", done); err != full {
			t.Errorf("Follow = %v, want the error of take", err)
		}
		if end := receive(t, "the end", s.requests); !end.End {
			t.Errorf("last request = %+v, want the end", end)
		}
	})
}

// TestStreamRequests: malformed headers are answered with an error, and reply subjects on which only servers may publish
// are refused.
func TestStreamRequests(t *testing.T) {
	t.Parallel()
	url := startServer(t, &server.Options{}).ClientURL()
	_, s, _ := startStreaming(t, url, nil)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for name, h := range map[string]nats.Header{
		"no ID":     {},
		"long ID":   {bus.StreamHeader: {strings.Repeat("x", 65)}},
		"wrong ack": {bus.StreamHeader: {"x"}, bus.AckHeader: {"-1"}},
		"wrong end": {bus.StreamHeader: {"x"}, bus.EndHeader: {"yes"}},
	} {
		m, err := nc.RequestMsg(&nats.Msg{Subject: "herd.follow.A", Header: h}, patience)
		if err != nil {
			t.Fatal(err)
		}
		if code := m.Header.Get("Nats-Service-Error-Code"); code != "400" || len(m.Data) == 0 {
			t.Errorf("%s: code %q, text %q, want 400", name, code, m.Data)
		}
	}
	open := func(to string) {
		t.Helper()
		if err := nc.PublishMsg(&nats.Msg{Subject: "herd.follow.A", Reply: to, Header: nats.Header{bus.StreamHeader: {to}}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []string{"herd.edge.A.B", "$SYS.x", "_INBOX.A.x", "_INBOX.B.x", "_INBOX.Wilkes.Welsh.answer"} {
		open(to)
	}
	open("_INBOX.tool")
	if r := receive(t, "a request", s.requests); r.To != "_INBOX.tool" {
		t.Errorf("a stream to %s is opened", r.To)
	}
}

// receive is the next value of a channel.
func receive[T any](t *testing.T, what string, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		t.Fatalf("%s: nothing in %v", what, patience)
	}
	return value
}
