package access_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/topology"
)

// permission is one cell of the matrix: what a user may do, or may not.
type permission struct {
	verb, subject string
	want          bool
}

// matrix returns all permissions of a user: publish and subscribe, for every kind of
// subject and every pair of servers. It follows from the purpose of the subjects, and
// is independent of the code that makes the rules.
func matrix(g *topology.Graph, p bus.Prefix, name string) (all []permission) {
	add := func(subject string, publish, subscribe bool) {
		all = append(all, permission{"publish", subject, publish}, permission{"subscribe", subject, subscribe})
	}
	never := func(subjects ...string) {
		for _, subject := range subjects {
			add(subject, false, name == access.OpsUser) // all subjects, but of its own account only
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
				// Heartbeats of all servers may be received, those of other topologies too.
				add(h+"."+kind+"."+from+"."+to, out, in || kind == "beat" && to == name)
				never(h + "." + kind + "." + from + "." + to + ".more")
			}
			add(inbox+"."+to+"."+from+".answer", out, to == name || name == access.OpsUser)
			add(h+".event."+from+".up."+to, from == name, name == access.OpsUser)
		}
		add(h+".event."+from+".start", from == name, name == access.OpsUser)
		add(h+".name."+from, from == name, from == name || name == access.OpsUser)
		never(h+".name."+from+".x", h+".edge."+from, h+".edge."+from+".Nobody", h+".edge."+from+".*", h+".edge.*."+from, h+".sync.*."+from)
		add(h+".beat.*."+from, false, from == name || name == access.OpsUser)
		never(h+".beat.*", h+".beat.>", h+".beat.*."+from+".more", h+".beat.*.Nobody", h+".beat.Nobody.Nobody")
		add(h+".reload."+from, name == access.OpsUser, from == name || name == access.OpsUser)
		never(h + ".reload." + from + ".more")
		for _, of := range []string{"x", "x.claim", "x.y.z", ">"} { // inboxes that the server creates
			add(inbox+"."+from+"."+of, false, from == name || name == access.OpsUser)
		}
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		add("$SRV."+verb, name == access.OpsUser, true)
		add("$SRV."+verb+"."+h, name == access.OpsUser, true)
		add("$SRV."+verb+"."+h+".id", name == access.OpsUser, true)
		add("$SRV."+verb+"."+h+".id.more", name == access.OpsUser, name == access.OpsUser)
		add("$SRV."+verb+".another", name == access.OpsUser, name == access.OpsUser)
	}
	for _, endpoint := range []string{"status", "edges", "get", "near"} {
		add(h+"."+endpoint, name == access.OpsUser, true)
		never(h + "." + endpoint + ".more")
	}
	never(h+".reload", h+".reload.Nobody", h+".reload.*", h+".reload.>")
	add("_R_.x.y", isServer, name == access.OpsUser) // replies to tools
	never(">", "*", "*.>", h+".>", h+".*", h+".*.*", h+".edge.>", h+".name.*", h+".name.>", h+".event.>", h+".event.*", h+".other",
		"another.edge."+g.Servers()[0]+".B", "_R_", "_INBOX.>", "_INBOX.tool", "_INBOX.tool.x", "_INBOX", inbox+".*", inbox+".Nobody.x",
		"$SRV.OTHER", "$SRV.>", "$SRV", "$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "$JS.ACK.x", "$KV.x.y", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SYS.>", "$SYS.ACCOUNT.x")
	return all
}

// violations tries everything in the matrix at the broker, and returns what was allowed
// or denied wrongly.
func violations(t *testing.T, b *broker, name string, permissions []permission) (wrong []string) {
	t.Helper()
	u := b.connect(name)
	messages := make(chan *nats.Msg) // not read
	for _, p := range permissions {
		var err error
		if p.verb == "publish" {
			if strings.ContainsAny(p.subject, "*>") {
				continue // not a subject to publish on
			}
			err = u.Publish(p.subject, nil)
		} else if _, err = u.ChanSubscribe(p.subject, messages); err == nil {
			_, err = u.ChanQueueSubscribe(p.subject, "q", messages)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	denied := u.denials(t)
	check := func(what string, want bool) {
		if denied[what] == want {
			wrong = append(wrong, fmt.Sprintf("%s: %s: allowed %v, want %v", name, what, !denied[what], want))
		}
	}
	for _, p := range permissions {
		switch {
		case p.verb == "subscribe":
			check("subscribe "+p.subject, p.want)
			check("subscribe "+p.subject+" q", p.want)
		case !strings.ContainsAny(p.subject, "*>"):
			check("publish "+p.subject, p.want)
		}
	}
	return wrong
}

// TestMatrix: every user may do what it should, and nothing else.
func TestMatrix(t *testing.T) {
	for _, tt := range []struct {
		spec   string
		prefix bus.Prefix
	}{{"goloman", "herd"}, {"riley", "herd"}, {"goloman", "two"}, {"Solo", "herd"}} {
		t.Run(tt.spec+"/"+string(tt.prefix), func(t *testing.T) {
			t.Parallel()
			g := load(t, tt.spec)
			b := startBroker(t, rulesOf(g, tt.prefix))
			total := 0
			for _, name := range append(g.Servers(), access.OpsUser) {
				permissions := matrix(g, tt.prefix, name)
				total += len(permissions)
				for _, wrong := range violations(t, b, name, permissions) {
					t.Error(wrong)
				}
			}
			t.Logf("%d permissions", total)
		})
	}
}

// TestMatrixIsComplete: TestMatrix fails if any single rule is missing, or is wider by a
// token.
func TestMatrixIsComplete(t *testing.T) {
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
					if subject == ">" { // nothing is wider, and an empty list denies nothing
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
						if wrong := violations(t, startBroker(t, mutant), u.Name, matrix(g, "herd", u.Name)); len(wrong) == 0 {
							t.Error("the matrix has no violation")
						}
					})
				}
			}
		}
	}
	t.Logf("%d mutants", mutants)
}

// TestUnknownKey: connections without a key, or with that of a removed user, are denied.
func TestUnknownKey(t *testing.T) {
	t.Parallel()
	b := startBroker(t, rules(t, "A-B"))
	if nc, err := nats.Connect(b.url); err == nil {
		nc.Close()
		t.Error("a connection without a key was accepted")
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
		t.Error("a removed user was accepted")
	}
}
