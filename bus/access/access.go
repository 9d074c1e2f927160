// Package access says who may speak and listen where on the bus, from the topology
// alone, and writes it down as the configuration of a NATS server: the broker then
// holds the topology, whatever a server says.
//
// There are three NATS accounts, which see of each other what is said here and no
// more. In Herd are the servers: each may speak and listen on the subjects of its
// own edges. In Ops are people and their tools: they hear all that is said below the
// herd's prefix, and may ask the servers. In System are those who look after the
// broker itself.
//
// People have an account of their own for the sake of the answers to what they ask.
// Whoever asks names the subject of the answer, and no rule of NATS's binds the name:
// in one account, a question could make a server speak on an edge. Between accounts
// the broker hands the server a name of its own making (`_R_.…`) instead, and takes
// the answer to where it was wanted in the asker's account. So a server answers tools
// on such names only, and none of a server's subjects can be reached from outside.
// Where it was wanted on the subject of an edge, those who tap that in Ops hear it
// beside what was said there, without a record's headers; servers do not.
package access

import (
	"slices"
	"strings"

	"herd/bus"
	"herd/bus/topology"
)

// The accounts.
const (
	Herd   = "HERD"
	Ops    = "OPS"
	System = "SYS"
)

// The users that are no servers. A server that bears one of these names can't be
// told from them where users are known by name: see Rules.Clash.
const (
	OpsUser    = "ops"
	SystemUser = "sys"
)

// User is one user of the broker. What is not in its lists is refused.
type User struct {
	Name       string // a server's, OpsUser or SystemUser
	Account    string
	Neighbours []string // of a server, sorted
	// Publish and Subscribe are the subjects it may use, sorted. Those of SystemUser
	// are empty: nothing in its account is kept from it.
	Publish, Subscribe []string
}

// Rules is all that may be said and heard on the bus of a herd.
type Rules struct {
	Users []User // servers, sorted by name, then OpsUser and SystemUser
	// What the herd's account lets the operators' hear and ask.
	Heard, Asked []string
}

// verbs are what every NATS micro service answers.
var verbs = []string{"PING", "INFO", "STATS"}

// For is the rules for the herd of g, whose subjects begin with p.
func For(g *topology.Graph, p bus.Prefix) Rules {
	r := Rules{Heard: []string{string(p) + ".>"}}
	for _, verb := range verbs {
		r.Asked = append(r.Asked, "$SRV."+verb, "$SRV."+verb+".>")
	}
	for _, endpoint := range bus.Endpoints {
		r.Asked = append(r.Asked, p.Endpoint(endpoint))
	}
	slices.Sort(r.Asked)
	servers := g.Servers()
	slices.Sort(servers)
	for _, name := range servers {
		r.Users = append(r.Users, server(g, p, name))
	}
	r.Users = append(r.Users,
		User{
			Name: OpsUser, Account: Ops,
			Publish:   slices.Clone(r.Asked),
			Subscribe: []string{">"}, // of its account, to which comes what is Heard, and answers
		},
		User{Name: SystemUser, Account: System},
	)
	return r
}

// server is what one server may say and hear.
func server(g *topology.Graph, p bus.Prefix, name string) User {
	u := User{Name: name, Account: Herd, Neighbours: g.Neighbours(name)}
	slices.Sort(u.Neighbours)
	u.Publish = []string{
		p.Name(name),
		p.Event(name, ">", ""),
		"_R_.>", // answers to tools
	}
	u.Subscribe = []string{
		p.Name(name),
		p.Inbox(name) + ".>",
	}
	for _, peer := range u.Neighbours {
		for _, lane := range []bus.Lane{bus.Records, bus.Heartbeat, bus.SyncRequest} {
			u.Publish = append(u.Publish, p.Between(lane, name, peer))
			u.Subscribe = append(u.Subscribe, p.Between(lane, peer, name))
		}
		u.Publish = append(u.Publish, p.Inbox(peer)+"."+name+".>")
	}
	for _, verb := range verbs {
		kind := "$SRV." + verb + "." + string(p)
		u.Subscribe = append(u.Subscribe, "$SRV."+verb, kind, kind+".*")
	}
	for _, endpoint := range bus.Endpoints {
		u.Subscribe = append(u.Subscribe, p.Endpoint(endpoint))
	}
	slices.Sort(u.Publish)
	slices.Sort(u.Subscribe)
	return u
}

// Clash is the server that bears the name of a user that is no server, "" for none.
// The case of letters does not count, as it does not in the names of some systems'
// files.
func (r Rules) Clash() string {
	for _, u := range r.Users {
		if u.Account == Herd && (strings.EqualFold(u.Name, OpsUser) || strings.EqualFold(u.Name, SystemUser)) {
			return u.Name
		}
	}
	return ""
}
