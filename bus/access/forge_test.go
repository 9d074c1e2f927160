package access_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/natsbus"
)

// member is a server on the bus, which keeps what it is told.
type member struct {
	*natsbus.Bus
	name     string
	ended    chan error
	ready    chan bool
	messages chan bus.Message
	trouble  chan string
}

func (m *member) Receive(got bus.Message) { m.messages <- got }
func (m *member) BatchEnd()               {}
func (m *member) Connected(up bool)       { m.ready <- up }
func (m *member) AsyncError(peer string, err error) {
	m.trouble <- strings.TrimSpace(peer + " " + err.Error())
}
func (m *member) Answer(string, []byte) ([]byte, error) { return []byte("status of " + m.name), nil }

func (b *brokers) join(name string, epoch uint64, neighbours ...string) *member {
	b.t.Helper()
	m := &member{name: name, ended: make(chan error, 1), ready: make(chan bool, 100), messages: make(chan bus.Message, 1000), trouble: make(chan string, 1000)}
	m.Bus = natsbus.New(natsbus.Config{
		URLs: []string{b.url}, Prefix: "herd", Server: name, Neighbours: neighbours, Epoch: epoch, User: b.keys[name],
		Service: natsbus.Service{Endpoints: []string{"status"}},
		Log:     slog.New(slog.NewTextHandler(b.t.Output(), nil)).With("node", name),
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { m.ended <- m.Run(ctx, m) }()
	b.t.Cleanup(func() {
		cancel()
		select {
		case <-m.ended:
		case <-time.After(patience):
			b.t.Errorf("%s does not end", name)
		}
	})
	return m
}

func take[T any](t *testing.T, what string, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
	}
	return got
}

// herdOf starts a broker and the servers of A-B-C but for A, whose key a test has.
func herdOf(t *testing.T) (b *brokers, second, third *member) {
	t.Helper()
	b = startBroker(t, access.For(load(t, "A-B,B-C"), "herd"))
	second, third = b.join("B", 1, "A", "C"), b.join("C", 1, "B")
	take(t, "B", second.ready)
	take(t, "C", third.ready)
	return b, second, third
}

// TestForgedReply: nobody gets a server, or the broker, to speak where he may not
// himself, by naming the place as that of the answer.
func TestForgedReply(t *testing.T) {
	t.Parallel()
	b, second, third := herdOf(t)
	places := []string{"herd.edge.B.C", "herd.beat.B.C", "herd.sync.B.C", "_INBOX.C.B.answer", "herd.name.C", "herd.name.B", "herd.edge.C.B", "_INBOX.B.C.answer"}
	questions := []string{"$SRV.PING", "$SRV.INFO.herd", "$SRV.STATS.herd", "herd.status", "$SYS.REQ.USER.INFO", "$JS.API.INFO", "herd.sync.A.B", "herd.edge.A.B", "herd.name.A", "herd.event.A.up.B"}

	// An attacker has the key of A, B's neighbour; another is an operator; both may
	// subscribe to their own inbox, with which they see that a question was answered.
	neighbour, operator := b.connect("A", nats.CustomInboxPrefix("_INBOX.A")), b.connect(access.OpsUser)
	for _, attacker := range []*user{neighbour, operator} {
		for _, question := range questions {
			for _, place := range places {
				m := nats.NewMsg(question)
				m.Reply = place
				if err := attacker.PublishMsg(m); err != nil {
					t.Fatal(err)
				}
				traced := nats.NewMsg(question)
				traced.Header.Set("Nats-Trace-Dest", place)
				if err := attacker.PublishMsg(traced); err != nil {
					t.Fatal(err)
				}
			}
		}
		attacker.refusals(t)
	}
	if answer, err := operator.Request("herd.status", nil, patience); err != nil || !strings.HasPrefix(string(answer.Data), "status of ") {
		t.Fatalf("the servers don't answer at all: %v", err)
	}
	// What was forged would come before these. Of A, B hears what A may say.
	if err := second.Send(bus.Message{Lane: bus.Records, Peer: "C", Data: []byte("last")}); err != nil {
		t.Fatal(err)
	}
	if err := third.Send(bus.Message{Lane: bus.Records, Peer: "B", Data: []byte("last")}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*member{second, third} {
		for {
			got := take(t, "the last message", m.messages)
			if string(got.Data) == "last" {
				break
			}
			if got.Peer != "A" {
				t.Errorf("forged: %s from %s: %q", got.Lane, got.Peer, got.Data)
			}
		}
		select {
		case err := <-m.ended:
			t.Errorf("a server ended: %v", err)
		default:
		}
	}
}

// TestNameIsGuarded: nobody can say that he holds the name of a server but that
// server itself.
func TestNameIsGuarded(t *testing.T) {
	t.Parallel()
	b, _, _ := herdOf(t)
	for _, attacker := range []string{"A", access.OpsUser} {
		u := b.connect(attacker)
		for _, name := range []string{"B", "C"} {
			if err := u.Publish("herd.name."+name, []byte("held 0")); err != nil {
				t.Fatal(err)
			}
		}
		if denied := u.refusals(t); !denied["publish herd.name.B"] || !denied["publish herd.name.C"] {
			t.Errorf("%s may speak on the names of others: %v", attacker, denied)
		}
	}
	first := b.join("A", 5, "B")
	take(t, "A", first.ready)
	again := b.join("A", 6, "B")
	if err := take(t, "a second A", again.ended); err == nil || !strings.Contains(err.Error(), bus.ErrNameTaken.Error()) {
		t.Errorf("a second A: %v", err)
	}
	again.ended <- nil // for Cleanup
}

// TestOperators: people hear all that is said below the prefix and nothing else, and
// every server answers what tools ask, in the inboxes that tools have.
func TestOperators(t *testing.T) {
	t.Parallel()
	b, second, third := herdOf(t)
	operator := b.connect(access.OpsUser)
	tap, err := operator.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	for _, lane := range bus.Lanes {
		if err := second.Send(bus.Message{Lane: lane, Peer: "C", Data: []byte(lane)}); err != nil {
			t.Fatal(err)
		}
		take(t, string(lane), third.messages)
	}
	if err := second.PublishEvent("up", "C", "C is up"); err != nil {
		t.Fatal(err)
	}
	var heard []string
	for !slices.Contains(heard, "herd.event.B.up.C") {
		m, err := tap.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, m.Subject)
	}
	if want := []string{"herd.edge.B.C", "herd.beat.B.C", "herd.sync.B.C", "herd.event.B.up.C"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}

	tool := b.connect(access.OpsUser) // nats micro takes a plain inbox, nats req one of three tokens
	for _, question := range []string{"$SRV.PING", "$SRV.PING.herd", "$SRV.INFO", "$SRV.INFO.herd", "$SRV.STATS", "$SRV.STATS.herd", "herd.status"} {
		inbox := tool.NewInbox()
		answers, err := tool.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		if err := tool.PublishRequest(question, inbox, nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := answers.NextMsg(patience); err != nil {
				t.Errorf("%s: %v", question, err)
			}
		}
		if _, err := tool.Request(question, nil, patience); err != nil {
			t.Errorf("%s: %v", question, err)
		}
	}
	if denied := tool.refusals(t); len(denied) > 0 {
		t.Errorf("denied to tools: %v", denied)
	}
	for _, m := range []*member{second, third} {
		select {
		case text := <-m.trouble:
			t.Errorf("a server was denied: %s", text)
		default:
		}
	}
}

// TestDenied: a server that does what it may not is told of it, once a second and
// subject, with a count, and so is one that a broker speaks to on an edge.
func TestDenied(t *testing.T) {
	t.Parallel()
	b := startBroker(t, access.For(load(t, "A-B,B-C"), "herd"))
	wrong := b.join("A", 1, "B", "C") // its topology has an edge that the broker's has not
	take(t, "A", wrong.ready)
	denied := map[string]bool{}
	for _, subject := range []string{"herd.edge.C.A", "herd.beat.C.A", "herd.sync.C.A"} {
		denied[fmt.Sprintf(`C denied: the broker says Permissions Violation for Subscription to %q`, subject)] = true
	}
	for len(denied) > 0 {
		text := take(t, "refused subscriptions", wrong.trouble)
		if !denied[text] {
			t.Fatalf("trouble %q, want of %v", text, denied)
		}
		delete(denied, text)
	}
	const messages = 1000
	for range messages {
		if err := wrong.Send(bus.Message{Lane: bus.Records, Peer: "C", Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	const said = `C denied: the broker says Permissions Violation for Publish to "herd.edge.A.C"`
	for counted, tellings := 0, 0; counted < messages; tellings++ {
		text := take(t, "refused publishing", wrong.trouble)
		times := 1
		if rest, found := strings.CutPrefix(text, said+", "); found {
			if _, err := fmt.Sscanf(rest, "%d times", &times); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		} else if text != said {
			t.Fatalf("trouble %q, want %q", text, said)
		}
		if counted += times; tellings > messages/10 {
			t.Fatal("told of nearly each single one")
		}
	}
}

// TestBrokerMade: what a header shows to be of a broker's making is no message of a
// neighbour, whoever sent it; a trace that somebody asked for is.
func TestBrokerMade(t *testing.T) {
	t.Parallel()
	b, second, _ := herdOf(t)
	neighbour := b.connect("A")
	for _, header := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Anything", ""} {
		m := nats.NewMsg("herd.edge.A.B")
		m.Data = []byte(header)
		if header != "" {
			m.Header.Set(header, "1")
		}
		m.Header.Set("Nats-Trace-Dest", "herd.event.A.trace")
		if err := neighbour.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if got := take(t, "the message with no such header", second.messages); len(got.Data) > 0 {
		t.Errorf("taken in: %q", got.Data)
	}
	const want = `A denied: dropped a message on "herd.edge.A.B": its header Nats-`
	if text := take(t, "denial", second.trouble); !strings.HasPrefix(text, want) {
		t.Errorf("trouble %q, want %q", text, want)
	}
	if text := take(t, "the others, a second later", second.trouble); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, ", 2 times") {
		t.Errorf("trouble %q, want %q of two", text, want)
	}
}
