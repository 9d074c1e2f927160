package natsbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"herd/bus"
)

// An endpoint of all servers, and one of each.
var (
	statusEndpoint = bus.Endpoint{Name: "status"}
	reloadEndpoint = bus.Endpoint{Name: "reload", Answers: bus.AnswerNamed, OpsOnly: true}
)

// answerer answers requests.
type answerer struct {
	*receiver
	answer func(endpoint string, request []byte) ([]byte, error)
}

func (a answerer) Answer(endpoint string, request []byte) (bus.Reply, error) {
	data, err := a.answer(endpoint, request)
	return bus.Reply{Data: data}, err
}

// startAnswering starts servers A and B, with an endpoint of all and one of each.
func startAnswering(t *testing.T, url string) Config {
	t.Helper()
	for _, name := range []string{"A", "B"} {
		b := New(Config{
			URLs: []string{url}, Prefix: "herd", Server: name, Epoch: 1, Log: testLog(t),
			Service: Service{Endpoints: []bus.Endpoint{statusEndpoint, reloadEndpoint}, Metadata: map[string]string{"herd": "yes"}},
		})
		h := newReceiver()
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- b.Run(ctx, answerer{h, func(endpoint string, request []byte) ([]byte, error) {
				for _, err := range []error{bus.ErrUnknown, bus.ErrConflict, bus.ErrBusy, bus.ErrUnavailable} {
					if string(request) == err.Error() {
						return nil, fmt.Errorf("%w: because", err)
					}
				}
				if string(request) == "junk" {
					return nil, errors.New("junk\x1b")
				}
				return fmt.Appendf(nil, "%s %s %s", name, endpoint, request), nil
			}})
		}()
		t.Cleanup(func() {
			stop()
			<-done
		})
		expect(t, name, h.connected, true)
	}
	return Config{URLs: []string{url}, Prefix: "herd"}
}

// TestRequest: one server answers a request to it alone, with a reply or with an error
// that the requester can tell.
func TestRequest(t *testing.T) {
	t.Parallel()
	cfg := startAnswering(t, startServer(t, &server.Options{}).ClientURL())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, name := range []string{"A", "B"} {
		reply, err := Request(ctx, cfg, reloadEndpoint, name, []byte("x"))
		if want := name + " reload x"; string(reply) != want || err != nil {
			t.Errorf("Request to %s = %q, %v, want %q", name, reply, err, want)
		}
	}
	all := []error{bus.ErrUnknown, bus.ErrConflict, bus.ErrBusy, bus.ErrUnavailable}
	for _, want := range all {
		reply, err := Request(ctx, cfg, reloadEndpoint, "A", []byte(want.Error()))
		for _, other := range all {
			if errors.Is(err, other) != (other == want) {
				t.Errorf("Request that fails with %v = %q, %v", want, reply, err)
			}
		}
		if !strings.Contains(fmt.Sprint(err), "because") {
			t.Errorf("Request = %v, want the reason", err)
		}
	}
	if _, err := Request(ctx, cfg, reloadEndpoint, "A", []byte("junk")); err == nil || !strings.Contains(err.Error(), "400") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("Request that fails = %v, want code 400, quoted", err)
	}
	began := time.Now()
	if _, err := Request(ctx, cfg, reloadEndpoint, "C", nil); !errors.Is(err, bus.ErrUnavailable) || time.Since(began) > patience/2 {
		t.Errorf("Request to a server that is not there = %v after %v, want ErrUnavailable at once", err, time.Since(began))
	}
}

// TestMetadata: a tool gets what a server says of itself, and nothing where there is none.
func TestMetadata(t *testing.T) {
	t.Parallel()
	cfg := startAnswering(t, startServer(t, &server.Options{}).ClientURL())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := Metadata(ctx, cfg); got["herd"] != "yes" || err != nil {
		t.Errorf("Metadata = %v, %v", got, err)
	}
	cfg.Prefix = "another"
	if got, err := Metadata(ctx, cfg); got != nil || err != nil || ctx.Err() != nil {
		t.Errorf("Metadata of a herd that does not run = %v, %v", got, err)
	}
}

// TestAskOverALongLink: Ask waits as long as its context lets it, also for the connection,
// and says which server has replied.
func TestAskOverALongLink(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	cfg := startAnswering(t, s.ClientURL())
	cfg.URLs = []string{"nats://" + delayed(t, s.Addr().String(), 250*time.Millisecond)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	err := Ask(ctx, cfg, statusEndpoint, nil, func(r Reply) bool {
		got = append(got, r.Server+": "+string(r.Data))
		return len(got) < 2
	})
	slices.Sort(got)
	if want := []string{"A: A status ", "B: B status "}; err != nil || !slices.Equal(got, want) {
		t.Errorf("replies %q, %v, want %q", got, err, want)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := Ask(ctx, cfg, statusEndpoint, nil, func(Reply) bool { return true }); err == nil || time.Since(began) > patience/2 {
		t.Errorf("Ask without the time to connect = %v after %v", err, time.Since(began))
	}
}

// TestServerOverALongLink: a server connects and serves over a link with a round trip of
// half a second, and of two.
func TestServerOverALongLink(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{})
	for _, oneWay := range []time.Duration{250 * time.Millisecond, time.Second} {
		b := New(Config{URLs: []string{"nats://" + delayed(t, s.Addr().String(), oneWay)}, Prefix: "herd", Server: fmt.Sprint("A", oneWay.Milliseconds()), Epoch: 1, Log: testLog(t)})
		h := newReceiver()
		start(t, b, h)
		select {
		case <-h.connected:
		case <-time.After(3 * patience):
			t.Errorf("not connected with %v one way", oneWay)
		}
	}
}

// delayed is an address whose connections lead to another, each way with a delay.
func delayed(t *testing.T, target string, by time.Duration) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	type chunk struct {
		due  time.Time
		data []byte
	}
	pump := func(from, to net.Conn) {
		chunks := make(chan chunk, 10_000)
		go func() {
			defer close(chunks)
			for {
				b := make([]byte, 64<<10)
				n, err := from.Read(b)
				if err != nil {
					return
				}
				chunks <- chunk{time.Now().Add(by), b[:n]}
			}
		}()
		defer to.Close()
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			if _, err := io.Copy(to, strings.NewReader(string(c.data))); err != nil {
				from.Close()
			}
		}
	}
	go relay(ln, target, func(near, far net.Conn) {
		go pump(near, far)
		go pump(far, near)
	})
	return ln.Addr().String()
}

// TestAskBrokenHandshake: a tool tries a broker again that closes the first connection during the handshake, as one that reloads its
// configuration does. If it closes the second one, too, the error says so.
func TestAskBrokenHandshake(t *testing.T) {
	t.Parallel()
	target := startServer(t, &server.Options{}).Addr().String()
	for broken := 1; broken <= 2; broken++ {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		accepted := make(chan bool, 9)
		go relay(ln, target, func(near, far net.Conn) {
			accepted <- true
			if len(accepted) <= broken {
				near.(*net.TCPConn).SetLinger(0) // so that it is reset
				near.Close()
				far.Close()
				return
			}
			go func() { io.Copy(near, far); near.Close() }()
			go func() { io.Copy(far, near); far.Close() }()
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err = Metadata(ctx, Config{URLs: []string{"nats://" + ln.Addr().String()}, Prefix: "herd"})
		if want := broken == 2; (err != nil) != want || len(accepted) != 2 {
			t.Errorf("%d connections are reset: %v after %d connections, want an error: %v, after 2", broken, err, len(accepted), want)
		}
	}
}

// TestAskCancelled: the end of ctx ends a request to something that accepts connections and is
// silent, long before the time to connect is over.
func TestAskCancelled(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		failed <- Ask(ctx, Config{URLs: []string{"ws://" + ln.Addr().String()}, Prefix: "herd"}, statusEndpoint, nil, func(Reply) bool { return true })
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first bytes of a WebSocket show that the client has dialled, and waits for an answer.
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-failed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Ask = %v, want context.Canceled", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Ask still runs")
	}
}
