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
	h := string(p)
	ops, guest := name == access.OpsUser, name == access.GuestUser
	tool := ops || guest
	// taps is what tools may read beside what others may, in their own account: operators all,
	// guests what is below the prefix or in a tool's inbox.
	taps := func(subject string) bool {
		return ops || guest && (strings.HasPrefix(subject, h+".") || strings.HasPrefix(subject, "_INBOX."))
	}
	add := func(subject string, publish, subscribe bool) {
		all = append(all, permission{"publish", subject, publish}, permission{"subscribe", subject, subscribe || taps(subject)})
	}
	never := func(subjects ...string) {
		for _, subject := range subjects {
			add(subject, false, false)
		}
	}
	hidden := func(subject string, publish, subscribe bool) { // to guests
		all = append(all, permission{"publish", subject, publish}, permission{"subscribe", subject, subscribe || ops})
	}
	inbox := "_INBOX"
	if p != "herd" {
		inbox += "_" + h
	}
	isServer := g.Index(name) >= 0
	for _, from := range g.Servers() {
		for _, to := range g.Servers() {
			out := from == name && g.Adjacent(from, to)
			in := to == name && g.Adjacent(from, to)
			for _, kind := range []string{"edge", "beat", "sync"} {
				// Heartbeats of all servers may be received, those of other topologies too.
				add(h+"."+kind+"."+from+"."+to, out, in || kind == "beat" && to == name)
				never(h + "." + kind + "." + from + "." + to + ".more")
			}
			add(inbox+"."+to+"."+from+".answer", out, to == name)
			add(h+".event."+from+".up."+to, from == name, false)
		}
		add(h+".event."+from+".start", from == name, false)
		add(h+".name."+from, from == name, from == name)
		never(h+".name."+from+".x", h+".edge."+from, h+".edge."+from+".Nobody", h+".edge."+from+".*", h+".edge.*."+from, h+".sync.*."+from)
		add(h+".beat.*."+from, false, from == name)
		never(h+".beat.*", h+".beat.>", h+".beat.*."+from+".more", h+".beat.*.Nobody", h+".beat.Nobody.Nobody")
		add(h+".dump."+from, tool, from == name)
		hidden(h+".follow."+from, tool, from == name)
		hidden(h+".reload."+from, ops, from == name)
		never(h+".dump."+from+".more", h+".follow."+from+".more", h+".reload."+from+".more", h+".status."+from, h+".near."+from, h+".forget."+from, h+".restore."+from)
		for _, of := range []string{"x", "x.claim", "x.y.z", ">"} { // inboxes that the server creates
			add(inbox+"."+from+"."+of, false, from == name)
		}
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		add("$SRV."+verb, tool, isServer)
		add("$SRV."+verb+"."+h, tool, isServer)
		add("$SRV."+verb+"."+h+".id", tool, isServer)
		add("$SRV."+verb+"."+h+".id.more", tool, false)
		add("$SRV."+verb+".another", tool, false)
	}
	add(h+".status", tool, isServer)
	add(h+".near", tool, isServer)
	hidden(h+".forget", ops, isServer)
	hidden(h+".restore", ops, isServer)
	for _, endpoint := range []string{"status", "near", "forget", "restore", "dump", "follow", "reload"} {
		never(h+"."+endpoint+".*", h+"."+endpoint+".>", h+"."+endpoint+".Nobody")
	}
	never(h+".dump", h+".follow", h+".reload")
	add("_R_.x.y", isServer, false)                   // replies to tools
	for _, reply := range []string{"x", "x.y", ">"} { // to operators, to requests that are theirs alone
		hidden("_INBOX.ops."+reply, false, false)
	}
	never("_INBOX.ops", "_INBOX.*.>")
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
			for _, name := range append(g.Servers(), access.OpsUser, access.GuestUser) {
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
		if !slices.Contains([]string{"A", access.OpsUser, access.GuestUser}, u.Name) {
			continue
		}
		for _, verb := range []string{"publish", "subscribe", "hidden"} {
			list := func(u *access.User) *[]string {
				return map[string]*[]string{"publish": &u.Publish, "subscribe": &u.Subscribe, "hidden": &u.Hidden}[verb]
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
