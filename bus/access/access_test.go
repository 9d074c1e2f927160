package access_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/topology"
)

const patience = 20 * time.Second // a broker that needs longer has failed

// brokers starts a NATS server as nats-server does, from a file with the rules, and
// connects users to it.
type brokers struct {
	t    *testing.T
	url  string
	keys access.Keys
}

func startBroker(t *testing.T, rules access.Rules) *brokers {
	t.Helper()
	keys, err := access.NewKeys(rules)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(rules.Conf(access.Broker{Listen: "127.0.0.1:0"}, public)), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("the broker is not ready")
	}
	return &brokers{t, s.ClientURL(), keys}
}

// user is a connection, and what it was denied: "publish <subject>", "subscribe
// <subject>" or "subscribe <subject> <queue>".
type user struct {
	*nats.Conn
	mu     sync.Mutex
	denied map[string]bool
	marks  chan struct{}
}

// mark is a subject that a NATS server keeps for itself whatever the rules say: the
// refusal shows that what was refused before has been told of.
const mark = "$NRG.mark"

func (b *brokers) connect(name string, opts ...nats.Option) *user {
	b.t.Helper()
	u := &user{denied: map[string]bool{}, marks: make(chan struct{}, 1)}
	public, err := b.keys[name].PublicKey()
	if err != nil {
		b.t.Fatal(err)
	}
	u.Conn, err = nats.Connect(b.url, append(opts, nats.Name(name), nats.Nkey(public, b.keys[name].Sign), nats.ErrorHandler(u.note))...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(u.Close)
	return u
}

var violation = regexp.MustCompile(`Violation for (Publish|Subscription) to "([^"]*)"(?: using queue "([^"]*)")?`)

func (u *user) note(_ *nats.Conn, _ *nats.Subscription, err error) {
	match := violation.FindStringSubmatch(err.Error())
	if match == nil {
		return
	}
	if match[2] == mark {
		u.marks <- struct{}{}
		return
	}
	verb := map[string]string{"Publish": "publish", "Subscription": "subscribe"}[match[1]]
	u.mu.Lock()
	defer u.mu.Unlock()
	u.denied[strings.TrimSpace(verb+" "+match[2]+" "+match[3])] = true
}

// refusals is what was denied until now.
func (u *user) refusals(t *testing.T) map[string]bool {
	t.Helper()
	if err := u.Publish(mark, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-u.marks:
	case <-time.After(patience):
		t.Fatal("the broker refused nothing")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.denied
}

// question is one cell of the matrix: may a user do that?
type question struct {
	verb, subject string
	want          bool
}

// matrix asks of a user all there is to ask: each kind of subject, between each two
// servers, to be published and subscribed. The answers come from what the subjects
// are for, and know nothing of how the rules are made.
func matrix(g *topology.Graph, p bus.Prefix, name string) (all []question) {
	ask := func(subject string, publish, subscribe bool) {
		all = append(all, question{"publish", subject, publish}, question{"subscribe", subject, subscribe})
	}
	never := func(subjects ...string) {
		for _, subject := range subjects {
			ask(subject, false, name == access.OpsUser) // who hears of its own account only, and that all
		}
	}
	h := string(p)
	inbox := "_INBOX"
	if p != "herd" {
		inbox += "_" + h
	}
	isServer := g.Index(name) >= 0
	for _, from := range g.Servers() {
		for _, to := range g.Servers() {
			out := from == name && g.Adjacent(from, to)
			in := to == name && g.Adjacent(from, to) || name == access.OpsUser
			for _, kind := range []string{"edge", "beat", "sync"} {
				ask(h+"."+kind+"."+from+"."+to, out, in)
				never(h + "." + kind + "." + from + "." + to + ".more")
			}
			ask(inbox+"."+to+"."+from+".answer", out, to == name || name == access.OpsUser)
			ask(h+".event."+from+".up."+to, from == name, name == access.OpsUser)
		}
		ask(h+".event."+from+".start", from == name, name == access.OpsUser)
		ask(h+".name."+from, from == name, from == name || name == access.OpsUser)
		never(h+".name."+from+".x", h+".edge."+from, h+".edge."+from+".Nobody", h+".edge."+from+".*", h+".edge.*."+from, h+".beat.*."+from, h+".sync.*."+from)
		for _, of := range []string{"x", "x.claim", "x.y.z", ">"} { // inboxes of the server's own making
			ask(inbox+"."+from+"."+of, false, from == name || name == access.OpsUser)
		}
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		ask("$SRV."+verb, name == access.OpsUser, true)
		ask("$SRV."+verb+"."+h, name == access.OpsUser, true)
		ask("$SRV."+verb+"."+h+".id", name == access.OpsUser, true)
		ask("$SRV."+verb+"."+h+".id.more", name == access.OpsUser, name == access.OpsUser)
		ask("$SRV."+verb+".another", name == access.OpsUser, name == access.OpsUser)
	}
	for _, endpoint := range []string{"status", "edges", "get"} {
		ask(h+"."+endpoint, name == access.OpsUser, true)
		never(h + "." + endpoint + ".more")
	}
	ask("_R_.x.y", isServer, name == access.OpsUser) // answers to tools
	never(">", "*", "*.>", h+".>", h+".*", h+".*.*", h+".edge.>", h+".name.*", h+".name.>", h+".event.>", h+".event.*", h+".other",
		"another.edge."+g.Servers()[0]+".B", "_R_", "_INBOX.>", "_INBOX.tool", "_INBOX.tool.x", "_INBOX", inbox+".*", inbox+".Nobody.x",
		"$SRV.OTHER", "$SRV.>", "$SRV", "$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "$JS.ACK.x", "$KV.x.y", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SYS.>", "$SYS.ACCOUNT.x")
	return all
}

// ask puts the questions to the broker and returns the wrong answers.
func ask(t *testing.T, b *brokers, name string, questions []question) (wrong []string) {
	t.Helper()
	u := b.connect(name)
	heard := make(chan *nats.Msg) // nobody listens
	for _, q := range questions {
		var err error
		if q.verb == "publish" {
			if strings.ContainsAny(q.subject, "*>") {
				continue // literal there, and no subject to publish on
			}
			err = u.Publish(q.subject, nil)
		} else if _, err = u.ChanSubscribe(q.subject, heard); err == nil {
			_, err = u.ChanQueueSubscribe(q.subject, "q", heard)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	denied := u.refusals(t)
	tell := func(what string, want bool) {
		if denied[what] == want {
			wrong = append(wrong, fmt.Sprintf("%s: %s: allowed %v, want %v", name, what, !denied[what], want))
		}
	}
	for _, q := range questions {
		switch {
		case q.verb == "subscribe":
			tell("subscribe "+q.subject, q.want)
			tell("subscribe "+q.subject+" q", q.want)
		case !strings.ContainsAny(q.subject, "*>"):
			tell("publish "+q.subject, q.want)
		}
	}
	return wrong
}

// TestMatrix: every server, every edge, both ways, every kind of subject: allowed is
// what should be, and nothing else.
func TestMatrix(t *testing.T) {
	for _, tt := range []struct {
		spec   string
		prefix bus.Prefix
	}{{"goloman", "herd"}, {"riley", "herd"}, {"goloman", "two"}, {"Solo", "herd"}} {
		t.Run(tt.spec+"/"+string(tt.prefix), func(t *testing.T) {
			t.Parallel()
			g := load(t, tt.spec)
			b := startBroker(t, rulesOf(g, tt.prefix))
			asked := 0
			for _, name := range append(g.Servers(), access.OpsUser) {
				questions := matrix(g, tt.prefix, name)
				asked += len(questions)
				for _, wrong := range ask(t, b, name, questions) {
					t.Error(wrong)
				}
			}
			t.Logf("%d questions", asked)
		})
	}
}

// endpoints are the request endpoints of the servers in these tests.
var endpoints = []string{"edges", "get", "status"}

func rulesOf(g *topology.Graph, prefix bus.Prefix) access.Rules {
	return access.NewRules(access.Config{Graph: g, Prefix: prefix, Endpoints: endpoints})
}

// rules returns the rules for a topology with the default prefix.
func rules(t *testing.T, spec string) access.Rules {
	t.Helper()
	return rulesOf(load(t, spec), "herd")
}

func load(t *testing.T, spec string) *topology.Graph {
	t.Helper()
	g, err := topology.Load(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestMatrixNotices: the matrix finds a wrong answer whichever single rule is left
// out, or made wider by a token.
func TestMatrixNotices(t *testing.T) {
	t.Parallel()
	g := load(t, "A-B,B-C,C-A,C-D")
	mutants := 0
	for i, u := range rulesOf(g, "herd").Users {
		if u.Name != "A" && u.Name != access.OpsUser {
			continue
		}
		for _, verb := range []string{"publish", "subscribe"} {
			list := func(u *access.User) *[]string {
				return map[string]*[]string{"publish": &u.Publish, "subscribe": &u.Subscribe}[verb]
			}
			for n, subject := range *list(&u) {
				tokens := strings.Split(strings.TrimSuffix(subject, ".>"), ".")
				wider := strings.Join(append(tokens[:len(tokens)-1:len(tokens)-1], ">"), ".")
				for _, instead := range []string{"", wider} {
					if subject == ">" { // there is nothing wider, and a list of nothing forbids nothing
						continue
					}
					mutant := rulesOf(g, "herd")
					rules := list(&mutant.Users[i])
					if instead == "" {
						*rules = slices.Delete(*rules, n, n+1)
					} else {
						(*rules)[n] = instead
					}
					mutants++
					t.Run(fmt.Sprintf("%s %s %s instead of %s", u.Name, verb, instead, subject), func(t *testing.T) {
						if wrong := ask(t, startBroker(t, mutant), u.Name, matrix(g, "herd", u.Name)); len(wrong) == 0 {
							t.Error("nobody noticed")
						}
					})
				}
			}
		}
	}
	t.Logf("%d mutants", mutants)
}

// TestNobodyElse: without a key of ours, or with that of a user that is gone, there
// is no way in.
func TestNobodyElse(t *testing.T) {
	t.Parallel()
	b := startBroker(t, rules(t, "A-B"))
	if nc, err := nats.Connect(b.url); err == nil {
		nc.Close()
		t.Error("somebody without a key was let in")
	}
	old := rules(t, "B-Gone")
	keys, err := access.NewKeys(old)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys["Gone"].PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect(b.url, nats.Nkey(public, keys["Gone"].Sign)); err == nil {
		nc.Close()
		t.Error("a user that is gone was let in")
	}
}

// TestConf: the text is the same each time, whatever order edges are given in, and a
// change of one edge changes the lines of its two servers only.
func TestConf(t *testing.T) {
	t.Parallel()
	text := func(spec string) string {
		rules := rules(t, spec)
		public := map[string]string{}
		for _, u := range rules.Users {
			public[u.Name] = "U" + u.Name
		}
		return rules.Conf(access.Broker{Listen: "127.0.0.1:4222"}, public)
	}
	if diff := cmp.Diff(text("A-B,B-C,C-D"), text("D-C,B-C,A-B")); diff != "" {
		t.Errorf("the order of edges makes a difference (-one +other):\n%s", diff)
	}
	before, after := text("A-B,B-C,C-D"), text("A-B,B-C,C-D,D-A")
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) && !strings.Contains(line, "A") && !strings.Contains(line, "D") {
			t.Errorf("an edge between A and D changed the line %q", line)
		}
	}
}

// TestLimits: what a broker holds to beside the rules.
func TestLimits(t *testing.T) {
	t.Parallel()
	text := rules(t, "A-B").Conf(access.Broker{Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0"}, map[string]string{})
	var got server.Options
	if err := got.ProcessConfigString(regexp.MustCompile(`(?s)accounts \{.*`).ReplaceAllString(text, "")); err != nil {
		t.Fatal(err)
	}
	want := server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		MaxPayload: 1 << 20, MaxPending: 64 << 20, WriteDeadline: 10 * time.Second, NoFastProducerStall: true,
	}
	for what, pair := range map[string][2]any{
		"host": {got.Host, want.Host}, "port": {got.Port, want.Port}, "HTTP host": {got.HTTPHost, want.HTTPHost}, "HTTP port": {got.HTTPPort, want.HTTPPort},
		"payload": {got.MaxPayload, want.MaxPayload}, "pending": {got.MaxPending, want.MaxPending}, "deadline": {got.WriteDeadline, want.WriteDeadline},
		"no stall": {got.NoFastProducerStall, want.NoFastProducerStall}, "JetStream": {got.JetStream, false},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s %v, want %v", what, pair[0], pair[1])
		}
	}
}

// TestClash: users that are no servers can't be taken for servers.
func TestClash(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{"A-B": "", "A-ops": "ops", "Sys-A": "Sys", "opsy-A": ""} {
		if got := rules(t, spec).Clash(); got != want {
			t.Errorf("Clash in %s = %q, want %q", spec, got, want)
		}
	}
}
