package natsbus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"herd/bus"
	"herd/node/wire"
)

// logText is what was logged.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

func (l *logText) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// restart starts another NATS server at the address of s, which it stops.
func restart(t *testing.T, s *server.Server, o *server.Options) *server.Server {
	t.Helper()
	address := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	return startServerAt(t, address, o)
}

// pair is two neighbours, A and B, and their handlers.
type pair struct {
	a, b     *Bus
	toA, toB *receiver
}

func newPair(t *testing.T, url string) pair {
	member := func(server, peer string, epoch uint64) *Bus {
		return New(Config{URLs: []string{url}, Prefix: "herd", Server: server, Neighbours: []string{peer}, Epoch: epoch, Log: testLog(t)})
	}
	p := pair{a: member("A", "B", 1), b: member("B", "A", 2), toA: newReceiver(), toB: newReceiver()}
	start(t, p.a, p.toA)
	start(t, p.b, p.toB)
	expect(t, "A", p.toA.connected, true)
	expect(t, "B", p.toB.connected, true)
	return p
}

// crosses waits until what A sends arrives at B.
func (p pair) crosses(t *testing.T) {
	t.Helper()
	arrived := make(chan struct{}, 1)
	p.toB.handle(func(m bus.Message) { signal(arrived) })
	eventually(t, "a message from A to B", func() bool {
		p.a.Send(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("x")})
		return len(arrived) > 0
	})
}

func problem(b *Bus) string {
	if err := b.Problem(); err != nil {
		return err.Error()
	}
	return ""
}

// TestProblemLimits: each limit of a broker that keeps a server from working is named,
// with the setting, in Problem and once in the log; and when the broker has it no more
// the server works and has no problem, without a restart.
func TestProblemLimits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limits server.Options
		want   string // in Problem
		logged string // in the log, where it is said there
	}{
		"no headers":          {server.Options{NoHeaderSupport: true}, "no support for message headers", "no support for message headers"},
		"subscriptions":       {server.Options{MaxSubs: 4}, "refuses 12 of this server's subscriptions for their number: raise its max_subscriptions", "maximum subscriptions exceeded"},
		"no subscriptions":    {server.Options{MaxSubs: 1}, "max_subscriptions", "maximum subscriptions exceeded"},
		"connections":         {server.Options{MaxConn: -1}, "raise its max_connections", "raise its max_connections"},
		"control line":        {server.Options{MaxControlLine: 64}, "max_control_line", "max_control_line"},
		"smaller controlline": {server.Options{MaxControlLine: 400}, "", ""},
		"payload":             {server.Options{MaxPayload: minPayload - 1, MaxPending: 64 << 20}, "max_payload of 2190 bytes", ""},
		"smaller payload":     {server.Options{MaxPayload: minPayload, MaxPending: 64 << 20}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, &tt.limits)
			var log logText
			b := New(Config{
				URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, Log: log.logger(),
				Service: Service{Endpoints: []bus.Endpoint{statusEndpoint}},
			})
			h := newReceiver()
			start(t, b, h)
			eventually(t, "the problem", func() bool { return strings.Contains(problem(b), tt.want) })
			time.Sleep(1500 * time.Millisecond) // in which it may be said again and again
			if got := problem(b); !strings.Contains(got, tt.want) || strings.Contains(got, "\n") || (tt.want == "") != (got == "") {
				t.Errorf("Problem = %q, want one line with %q", got, tt.want)
			}
			if tt.logged != "" && log.count(tt.logged) != 1 {
				t.Errorf("%q was logged %d times, want once:\n%s", tt.logged, log.count(tt.logged), log.text.String())
			}
			restart(t, s, &server.Options{})
			eventually(t, "no problem any more", func() bool { return b.Problem() == nil && b.publisher.conn.Load() != nil })
			b.SetNeighbours([]string{"B", "C"}) // waits for the broker
			if got := problem(b); got != "" {
				t.Errorf("Problem = %q", got)
			}
		})
	}
}

// TestMinPayload: with the least max_payload, the messages of a comparison of maps fit.
func TestMinPayload(t *testing.T) {
	t.Parallel()
	if got, want := minPayload-maxHeader, wire.SyncHeaderSize+wire.GroupSize; got != want {
		t.Errorf("minPayload leaves %d bytes for data, want %d", got, want)
	}
}

// TestProblemRoomForSubscriptions: what was refused for the number of subscriptions is
// asked for again once the broker has room, on the same broker.
func TestProblemRoomForSubscriptions(t *testing.T) {
	t.Parallel()
	account := server.NewAccount("herd")
	s := startServer(t, &server.Options{Accounts: []*server.Account{account}, Users: []*server.User{{Username: "u", Password: "p", Account: account}}, MaxSubs: 4})
	url := strings.Replace(s.ClientURL(), "://", "://u:p@", 1)
	p := newPair(t, url)
	for _, b := range []*Bus{p.a, p.b} {
		eventually(t, "the problem", func() bool { return strings.Contains(problem(b), "max_subscriptions") })
		if strings.Contains(problem(b), "u:p") {
			t.Errorf("Problem shows the password: %q", problem(b))
		}
	}
	restart(t, s, &server.Options{})
	p.crosses(t)
	for _, b := range []*Bus{p.a, p.b} {
		eventually(t, "no problem any more", func() bool { return b.Problem() == nil })
	}
}

// TestProblemKey: a key that the broker does not accept is a problem until it does. The
// server connects when the key is accepted.
func TestProblemKey(t *testing.T) {
	t.Parallel()
	user := newUser(t)
	s := startServer(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: publicKey(t, newUser(t))}}})
	var log logText
	b := New(Config{URLs: []string{strings.Replace(s.ClientURL(), "://", "://secret@", 1)}, Prefix: "herd", Server: "A", Epoch: 1, User: user, Log: log.logger()})
	h := newReceiver()
	start(t, b, h)
	eventually(t, "the problem", func() bool {
		return strings.Contains(problem(b), "xxxxx@") && strings.Contains(problem(b), "does not accept this server's key or password")
	})
	time.Sleep(time.Second)
	if log.count("Authorization Violation") != 1 || log.count("secret") != 0 {
		t.Errorf("logged:\n%s", log.text.String())
	}
}

func newUser(t *testing.T) nkeys.KeyPair {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func publicKey(t *testing.T, user nkeys.KeyPair) string {
	t.Helper()
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// TestProblemDenied: what the broker refuses for permissions is a problem while it does:
// subscriptions until they are accepted, publishing until some is not refused.
func TestProblemDenied(t *testing.T) {
	t.Parallel()
	user := newUser(t)
	options := func(publish, subscribe *server.SubjectPermission) *server.Options {
		permissions := &server.Permissions{Publish: publish, Subscribe: subscribe}
		return &server.Options{Host: "127.0.0.1", NoSigs: true, Nkeys: []*server.NkeyUser{{Nkey: publicKey(t, user), Permissions: permissions}}}
	}
	s := startServer(t, options(nil, nil))
	b := New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Neighbours: []string{"B"}, Epoch: 1, User: user, Log: testLog(t)})
	h := newReceiver()
	h.errors = make(chan error, 1000)
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	send := func() {
		for _, peer := range []string{"B", "Stranger"} {
			if err := b.Send(bus.Message{Lane: bus.Heartbeat, Peer: peer}); err != nil && !errors.Is(err, bus.ErrDisconnected) {
				t.Error(err)
			}
		}
	}
	reload := func(publish, subscribe *server.SubjectPermission) {
		o := options(publish, subscribe)
		_, port, _ := strings.Cut(strings.TrimPrefix(s.ClientURL(), "nats://"), ":")
		fmt.Sscan(port, &o.Port)
		if err := s.ReloadOptions(o); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		publish, subscribe *server.SubjectPermission
		want               string
	}{
		{&server.SubjectPermission{Deny: []string{"herd.beat.A.B", "herd.beat.A.Stranger"}}, nil, "refuses what this server publishes on 1 subject, such as herd.beat.A.B"},
		{nil, nil, ""},
		{nil, &server.SubjectPermission{Deny: []string{"herd.edge.B.A"}}, "refuses 1 of this server's subscriptions, such as herd.edge.B.A"},
		{nil, &server.SubjectPermission{Allow: []string{"herd.edge.B.A", "herd.beat.B.A", "herd.sync.B.A", "_INBOX.A.>", "herd.name.A", "$SRV.>"}}, ""}, // by an older version
	} {
		reload(tt.publish, tt.subscribe)
		eventually(t, fmt.Sprintf("Problem with %q", tt.want), func() bool {
			send()
			return strings.Contains(problem(b), tt.want) && (problem(b) == "") == (tt.want == "")
		})
		for range 3 { // it lasts
			time.Sleep(pollEvery / 2)
			send()
			if got := problem(b); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("Problem = %q, want %q", got, tt.want)
			}
		}
	}

	// Records are not sent again and again. Their refusal stands while the broker has it, and
	// ends soon after, although nobody sends any.
	reload(&server.SubjectPermission{Deny: []string{"herd.edge.A.B", "herd.sync.A.B", "herd.event.>"}}, nil)
	for _, lane := range []bus.Lane{bus.Records, bus.SyncRequest} {
		if err := b.Send(bus.Message{Lane: lane, Peer: "B", Data: []byte("x")}); err != nil {
			t.Error(err)
		}
	}
	if err := b.PublishEvent("up", "B", "x"); err != nil {
		t.Error(err)
	}
	const refused = "refuses what this server publishes on 2 subjects, such as herd.edge.A.B"
	eventually(t, "the refusals", func() bool { return strings.Contains(problem(b), refused) })
	for until := time.Now().Add(refreshEvery + 3*pollEvery); time.Now().Before(until); time.Sleep(pollEvery / 2) {
		if got := problem(b); !strings.Contains(got, refused) {
			t.Errorf("Problem = %q, want %q", got, refused)
		}
	}
	reload(nil, nil)
	eventually(t, "no problem any more", func() bool { return b.Problem() == nil && !b.problems.publishing.Load() })
	if len(h.connected) > 0 {
		t.Error("the connection was lost, and with it the refusals")
	}
	for len(h.errors) > 0 {
		if err := <-h.errors; strings.Contains(err.Error(), "Stranger") || strings.Contains(err.Error(), "*") {
			t.Errorf("reported: %v", err)
		}
	}
}
