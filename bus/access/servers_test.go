package access_test

import (
	"context"
	"errors"
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

// member is a server on the bus that keeps what its Handler is called with.
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
func (m *member) Answer(string, []byte) (bus.Reply, error) {
	return bus.Reply{Data: []byte("status of " + m.name)}, nil
}
func (m *member) Stream(bus.StreamRequest) error { return bus.ErrUnknown }

func (b *broker) join(name string, epoch uint64, neighbours ...string) *member {
	b.t.Helper()
	return b.joinAs(name, name, epoch, neighbours...)
}

// joinAs is join with the key of a user.
func (b *broker) joinAs(name, user string, epoch uint64, neighbours ...string) *member {
	b.t.Helper()
	m := &member{name: name, ended: make(chan error, 1), ready: make(chan bool, 100), messages: make(chan bus.Message, 1000), trouble: make(chan string, 1000)}
	m.Bus = natsbus.New(natsbus.Config{
		URLs: []string{b.url}, Prefix: "herd", Server: name, Neighbours: neighbours, Epoch: epoch, User: b.keys[user],
		Service: natsbus.Service{Endpoints: endpoints},
		Log:     slog.New(slog.NewTextHandler(b.t.Output(), nil)).With("node", name),
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { m.ended <- m.Run(ctx, m) }()
	b.t.Cleanup(func() {
		cancel()
		select {
		case <-m.ended:
		case <-time.After(patience):
			b.t.Errorf("%s still runs", name)
		}
	})
	return m
}

func take[T any](t *testing.T, what string, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(patience):
		t.Fatalf("timeout: %s", what)
	}
	return got
}

// startServers starts a broker for A-B-C, and the servers B and C. The key of A is for
// the test.
func startServers(t *testing.T) (b *broker, second, third *member) {
	t.Helper()
	b = startBroker(t, rules(t, "A-B,B-C"))
	second, third = b.join("B", 1, "A", "C"), b.join("C", 1, "B")
	take(t, "B", second.ready)
	take(t, "C", third.ready)
	return b, second, third
}

// TestForgedReply: no user can make a server or the broker publish on a subject that the
// user may not publish on, by naming it as the reply subject of a request.
func TestForgedReply(t *testing.T) {
	t.Parallel()
	b, second, third := startServers(t)
	replies := []string{"herd.edge.B.C", "herd.beat.B.C", "herd.sync.B.C", "_INBOX.C.B.answer", "herd.name.C", "herd.name.B", "herd.edge.C.B", "_INBOX.B.C.answer"}
	requests := []string{"$SRV.PING", "$SRV.INFO.herd", "$SRV.STATS.herd", "herd.status", "$SYS.REQ.USER.INFO", "$JS.API.INFO", "herd.sync.A.B", "herd.edge.A.B", "herd.name.A", "herd.event.A.up.B"}

	// The attackers: one with the key of A, a neighbour of B, an operator and a guest.
	neighbour, operator := b.connect("A", nats.CustomInboxPrefix("_INBOX.A")), b.connect(access.OpsUser)
	for _, attacker := range []*user{neighbour, operator, b.connect(access.GuestUser)} {
		for _, request := range requests {
			for _, reply := range replies {
				m := nats.NewMsg(request)
				m.Reply = reply
				if err := attacker.PublishMsg(m); err != nil {
					t.Fatal(err)
				}
				traced := nats.NewMsg(request)
				traced.Header.Set("Nats-Trace-Dest", reply)
				if err := attacker.PublishMsg(traced); err != nil {
					t.Fatal(err)
				}
			}
		}
		attacker.denials(t)
	}
	if m, err := operator.Request("herd.status", nil, patience); err != nil || !strings.HasPrefix(string(m.Data), "status of ") {
		t.Fatalf("a request with a valid reply subject: %v", err)
	}
	// Forged messages would arrive before these. B may receive messages from A.
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
			t.Errorf("a server has stopped: %v", err)
		default:
		}
	}
}

// TestNameLease: only the server itself can claim its name.
func TestNameLease(t *testing.T) {
	t.Parallel()
	b, _, _ := startServers(t)
	for _, attacker := range []string{"A", access.OpsUser, access.GuestUser} {
		u := b.connect(attacker)
		for _, name := range []string{"B", "C"} {
			if err := u.Publish("herd.name."+name, []byte("held 0")); err != nil {
				t.Fatal(err)
			}
		}
		if denied := u.denials(t); !denied["publish herd.name.B"] || !denied["publish herd.name.C"] {
			t.Errorf("%s may publish on the name subjects of B and C; denied: %v", attacker, denied)
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

// TestTools: operators and guests receive all messages below the prefix and no others of the
// servers, and every server replies to their requests, to the kinds of inboxes that tools use.
func TestTools(t *testing.T) {
	t.Parallel()
	for user, all := range map[string]string{access.OpsUser: ">", access.GuestUser: "herd.>"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			testTools(t, user, all)
		})
	}
}

func testTools(t *testing.T, user, all string) {
	b, second, third := startServers(t)
	operator := b.connect(user)
	tap, err := operator.SubscribeSync(all)
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
	var received []string
	for !slices.Contains(received, "herd.event.B.up.C") {
		m, err := tap.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		received = append(received, m.Subject)
	}
	if want := []string{"herd.edge.B.C", "herd.beat.B.C", "herd.sync.B.C", "herd.event.B.up.C"}; !slices.Equal(received, want) {
		t.Errorf("received %q, want %q", received, want)
	}

	tool := b.connect(user) // nats micro uses a plain inbox, nats req one of three tokens
	for _, request := range []string{"$SRV.PING", "$SRV.PING.herd", "$SRV.INFO", "$SRV.INFO.herd", "$SRV.STATS", "$SRV.STATS.herd", "herd.status"} {
		inbox := tool.NewInbox()
		replies, err := tool.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		if err := tool.PublishRequest(request, inbox, nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := replies.NextMsg(patience); err != nil {
				t.Errorf("%s: %v", request, err)
			}
		}
		if _, err := tool.Request(request, nil, patience); err != nil {
			t.Errorf("%s: %v", request, err)
		}
	}
	if denied := tool.denials(t); len(denied) > 0 {
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

// TestDenied: a server is told what the broker denies it, at most once per second and
// subject, with a count.
func TestDenied(t *testing.T) {
	t.Parallel()
	b := startBroker(t, rules(t, "A-B,B-C"))
	wrong := b.join("A", 1, "B", "C") // its topology has an edge that the broker's rules lack
	take(t, "A", wrong.ready)
	denied := map[string]bool{}
	for _, subject := range []string{"herd.edge.C.A", "herd.sync.C.A"} {
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
	const want = `C denied: the broker says Permissions Violation for Publish to "herd.edge.A.C"`
	for counted, reports := 0, 0; counted < messages; reports++ {
		text := take(t, "refused publishing", wrong.trouble)
		times := 1
		if rest, found := strings.CutPrefix(text, want+", "); found {
			if _, err := fmt.Sscanf(rest, "%d times", &times); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		} else if text != want {
			t.Fatalf("trouble %q, want %q", text, want)
		}
		if counted += times; reports > messages/10 {
			t.Fatalf("%d reports of %d denials", reports, counted)
		}
	}
}

// TestOthersKey: a server with the key of another, a neighbour or not, has a problem that
// says so, and gets no message. Servers with their own keys have none.
func TestOthersKey(t *testing.T) {
	t.Parallel()
	b, second, third := startServers(t)
	for _, user := range []string{"B", "C"} {
		wrong := b.joinAs("A", user, 1, "B")
		for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			if err := wrong.Problem(); err != nil && strings.Contains(err.Error(), "check that the key is this server's own") {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("A with the key of %s: Problem = %v", user, wrong.Problem())
			}
		}
		for until := time.Now().Add(6 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) { // what is refused is tried again meanwhile
			if wrong.Problem() == nil {
				t.Fatalf("A with the key of %s has no problem any more", user)
			}
		}
	}
	for _, m := range []*member{second, third} {
		if err := m.Problem(); err != nil {
			t.Errorf("%s: Problem = %v", m.name, err)
		}
	}
}

// TestRequestToOne: an operator, and neither a guest nor a server, may send the request of
// operators to one server, which alone answers.
func TestRequestToOne(t *testing.T) {
	t.Parallel()
	b, _, _ := startServers(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request := func(user string) error {
		cfg := natsbus.Config{URLs: []string{b.url}, Prefix: "herd", User: b.keys[user]}
		reply, err := natsbus.Request(ctx, cfg, reloadEndpoint, "C", nil)
		if err == nil && string(reply) != "status of C" {
			t.Errorf("C has not answered, but %q", reply)
		}
		return err
	}
	if err := request(access.OpsUser); err != nil {
		t.Errorf("request of an operator: %v", err)
	}
	for _, user := range []string{"B", access.GuestUser} {
		if err := request(user); !errors.Is(err, bus.ErrDenied) {
			t.Errorf("request of %s: %v, want ErrDenied", user, err)
		}
	}
}

// TestHidden: guests see neither the requests that only operators may send nor their replies,
// whatever they subscribe to. Otherwise a guest could name the reply subject in a request of
// its own, and an operator would take another answer for that to the operator's request.
func TestHidden(t *testing.T) {
	t.Parallel()
	b, second, third := startServers(t)
	b.joinShared(second, third)
	guest := b.connect(access.GuestUser)
	messages := make(chan *nats.Msg, 100)
	for _, subject := range []string{"herd.>", "herd.*", "herd.*.*", "_INBOX.>", "_INBOX.*.*", "_INBOX.*.>", "herd.reload.*", "herd.reload.>"} {
		if _, err := guest.ChanSubscribe(subject, messages); err != nil {
			t.Fatal(err)
		}
	}
	if denied := guest.denials(t); len(denied) > 0 {
		t.Fatalf("denied to a guest: %v", denied)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cfg := natsbus.Config{URLs: []string{b.url}, Prefix: "herd", User: b.keys[access.OpsUser]}
	if _, err := natsbus.Request(ctx, cfg, reloadEndpoint, "C", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := natsbus.RequestShared(ctx, cfg, restoreEndpoint, nil); err != nil {
		t.Fatal(err)
	}
	replies := 0
	err := natsbus.Ask(ctx, cfg, forgetEndpoint, nil, func(natsbus.Reply) bool { replies++; return replies < 2 })
	if err != nil || replies != 2 {
		t.Fatalf("%d replies, %v, want 2", replies, err)
	}
	// What the guest may see comes last.
	if _, err := natsbus.RequestShared(ctx, cfg, nearEndpoint, []byte("visible")); err != nil {
		t.Fatal(err)
	}
	for {
		m := take(t, "a request that guests may see", messages)
		if strings.HasPrefix(m.Subject, "herd.beat.") || strings.HasPrefix(m.Subject, "herd.event.") || strings.HasPrefix(m.Subject, "herd.name.") {
			continue
		}
		if m.Subject == "herd.near" && string(m.Data) == "visible" {
			break
		}
		t.Errorf("a guest sees %q on %s, reply subject %q", m.Data, m.Subject, m.Reply)
	}
}

// TestAnswerOne: one of the servers answers a request to a queue group, and each of them some.
func TestAnswerOne(t *testing.T) {
	t.Parallel()
	b, second, third := startServers(t)
	b.joinShared(second, third)
	guest := b.connect(access.GuestUser)
	inbox := guest.NewInbox()
	replies, err := guest.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	const requests = 100 // that all go to one of two has a probability of 2^-99
	for range requests {
		if err := guest.PublishRequest("herd.near", inbox, nil); err != nil {
			t.Fatal(err)
		}
	}
	from := map[string]int{}
	for range requests {
		m, err := replies.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		from[m.Header.Get(natsbus.ServerHeader)]++
	}
	if from["B"]+from["C"] != requests || from["B"] == 0 || from["C"] == 0 {
		t.Errorf("replies by server: %v, want %d of B and C", from, requests)
	}
	// A second reply to any of them would come before those of both servers to another request.
	later := guest.NewInbox()
	both, err := guest.SubscribeSync(later)
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.PublishRequest("herd.status", later, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := both.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
	if more, _, err := replies.Pending(); err != nil || more > 0 {
		t.Errorf("%d replies more than requests, %v", more, err)
	}
}

// TestBrokerMade: a message whose header shows that a broker created it is dropped,
// no matter who sent it. The header that requests a trace is not such a header.
func TestBrokerMade(t *testing.T) {
	t.Parallel()
	b, second, _ := startServers(t)
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
		t.Errorf("accepted a message with header %q", got.Data)
	}
	const want = `A denied: dropped a message on "herd.edge.A.B": its header Nats-`
	if text := take(t, "denial", second.trouble); !strings.HasPrefix(text, want) {
		t.Errorf("trouble %q, want %q", text, want)
	}
	if text := take(t, "the others, a second later", second.trouble); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, ", 2 times") {
		t.Errorf("trouble %q, want %q of two", text, want)
	}
}
