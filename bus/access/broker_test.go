package access_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/topology"
)

// patience is the timeout of a test: nothing takes that long unless it fails.
const patience = 20 * time.Second

// broker is a NATS server that was started from a file with the rules, and its users'
// keys.
type broker struct {
	t    *testing.T
	url  string
	keys access.Keys
}

func startBroker(t *testing.T, rules access.Rules) *broker {
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
	return &broker{t, s.ClientURL(), keys}
}

// user is a connection that collects what it was denied: "publish <subject>",
// "subscribe <subject>" or "subscribe <subject> <queue>".
type user struct {
	*nats.Conn
	mu     sync.Mutex
	denied map[string]bool
	marks  chan struct{}
}

// mark is a subject that is reserved for the NATS server itself. When publishing on it
// has been denied, all earlier denials have arrived.
const mark = "$NRG.mark"

func (b *broker) connect(name string, opts ...nats.Option) *user {
	b.t.Helper()
	u := &user{denied: map[string]bool{}, marks: make(chan struct{}, 1)}
	public, err := b.keys[name].PublicKey()
	if err != nil {
		b.t.Fatal(err)
	}
	u.Conn, err = nats.Connect(b.url, append(opts, nats.Name(name), nats.Nkey(public, b.keys[name].Sign), nats.ErrorHandler(u.recordDenial))...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(u.Close)
	return u
}

var violation = regexp.MustCompile(`Violation for (Publish|Subscription) to "([^"]*)"(?: using queue "([^"]*)")?`)

func (u *user) recordDenial(_ *nats.Conn, _ *nats.Subscription, err error) {
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

// denials returns what was denied until now.
func (u *user) denials(t *testing.T) map[string]bool {
	t.Helper()
	if err := u.Publish(mark, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-u.marks:
	case <-time.After(patience):
		t.Fatal("the broker denied nothing")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.denied
}

// The endpoints of the servers in these tests: of every kind, for all tools and for operators.
var (
	statusEndpoint  = bus.Endpoint{Name: "status"}
	nearEndpoint    = bus.Endpoint{Name: "near", Answers: bus.AnswerOne}
	dumpEndpoint    = bus.Endpoint{Name: "dump", Answers: bus.AnswerNamed}
	followEndpoint  = bus.Endpoint{Name: "follow", Answers: bus.AnswerNamed, Stream: true}
	forgetEndpoint  = bus.Endpoint{Name: "forget", OpsOnly: true}
	restoreEndpoint = bus.Endpoint{Name: "restore", Answers: bus.AnswerOne, OpsOnly: true}
	reloadEndpoint  = bus.Endpoint{Name: "reload", Answers: bus.AnswerNamed, OpsOnly: true}

	endpoints = []bus.Endpoint{statusEndpoint, nearEndpoint, dumpEndpoint, followEndpoint, forgetEndpoint, restoreEndpoint, reloadEndpoint}
)

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
