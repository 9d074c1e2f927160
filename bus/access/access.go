// Package access derives from the topology who may publish and subscribe on which
// subjects, and writes it as the configuration of a NATS server. The broker then
// enforces the topology, whatever a server does.
//
// There are three NATS accounts, isolated from each other except for the exports
// below:
//
//   - Herd has the servers. Each may use the subjects of its own edges.
//   - Ops has operators, guests, and their tools. They can read the messages below the herd's
//     prefix, and send requests to the servers: operators all, guests those that change nothing.
//   - System has the administrators of the broker.
//
// Operators and guests have an account of their own because of reply subjects. A requester
// chooses the reply subject, and NATS does not check its permissions for it: within one
// account, a request could make a server publish on an edge. Between accounts the broker
// replaces the reply subject by one of its own (`_R_.…`), and delivers the reply to the
// original subject in the requester's account. So servers need the permission to reply
// to tools on `_R_.>` only, and no subject of a server can be reached from another
// account. A requester who names an edge's subject as the reply subject sends the reply
// to those of account Ops that tap this edge, without the headers of a record, and to no server.
//
// In account Ops a guest could name the reply subject of an operator's request too. So guests
// do not see the requests that only operators may send, nor their replies. Nor do they see requests about streams: who knows a
// stream's ID can end it.
package access

import (
	"fmt"
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

// The users that are not servers. No server may have one of these names: see CheckNames.
const (
	OpsUser    = "ops"   // may send all requests
	GuestUser  = "guest" // may send requests that are not bus.Endpoint.OpsOnly
	SystemUser = "sys"
)

// User is a user of the broker, which denies what is not listed here.
type User struct {
	Name       string // a server, OpsUser, GuestUser or SystemUser
	Account    string
	Neighbours []string // of a server, sorted
	// Publish and Subscribe are the allowed subjects, sorted. They are empty for
	// SystemUser, who is not restricted in its account.
	Publish, Subscribe []string
	// Hidden are the subjects, sorted, that the user cannot read although Subscribe covers them.
	// The broker delivers no message on them, to subscriptions with wildcards either.
	Hidden []string
}

// Rules are the permissions on the bus of a herd.
type Rules struct {
	Users []User // the servers, sorted by name, then OpsUser, GuestUser and SystemUser
	// Streams and Services are the subjects that account Ops imports from account
	// Herd: to read, and to send requests to.
	Streams, Services []string
}

// verbs are the requests that every NATS micro service answers.
var verbs = []string{"PING", "INFO", "STATS"}

// Config describes a herd. All fields are required.
type Config struct {
	Graph     *topology.Graph
	Prefix    bus.Prefix
	Endpoints []bus.Endpoint // of every server
}

// NewRules returns the rules for a herd.
func NewRules(cfg Config) Rules {
	r := Rules{Streams: []string{string(cfg.Prefix) + ".>"}}
	servers := cfg.Graph.Servers()
	slices.Sort(servers)
	var open, opsOnly []string // the subjects of requests, by who may send them
	var hidden []string        // from guests
	for _, verb := range verbs {
		open = append(open, "$SRV."+verb, "$SRV."+verb+".>")
	}
	for _, e := range cfg.Endpoints {
		if subjects := e.Subjects(cfg.Prefix, servers); e.OpsOnly {
			opsOnly = append(opsOnly, subjects...)
		} else {
			open = append(open, subjects...)
		}
		if e.OpsOnly || e.Stream {
			hidden = append(hidden, e.Subjects(cfg.Prefix, servers)...)
		}
	}
	r.Services = slices.Sorted(slices.Values(slices.Concat(open, opsOnly)))
	for _, name := range servers {
		r.Users = append(r.Users, cfg.server(name))
	}
	r.Users = append(r.Users,
		User{
			Name: OpsUser, Account: Ops,
			Publish:   slices.Clone(r.Services),
			Subscribe: []string{">"}, // in its account: Streams and replies
		},
		User{
			Name: GuestUser, Account: Ops,
			Publish:   slices.Sorted(slices.Values(open)),
			Subscribe: append(slices.Clone(r.Streams), "_INBOX.>"), // where tools expect replies
			Hidden:    slices.Sorted(slices.Values(append(hidden, bus.OpsInbox+".>"))),
		},
		User{Name: SystemUser, Account: System},
	)
	return r
}

// server returns the user of one server.
func (cfg Config) server(name string) User {
	p := cfg.Prefix
	u := User{Name: name, Account: Herd, Neighbours: cfg.Graph.Neighbours(name)}
	slices.Sort(u.Neighbours)
	u.Publish = []string{
		p.Name(name),
		p.Event(name, ">", ""),
		"_R_.>", // replies to tools
	}
	u.Subscribe = []string{
		p.Name(name),
		p.Inbox(name) + ".>",
		p.Strangers(name), // whose topology is another is told that there is no edge
	}
	for _, peer := range u.Neighbours {
		for _, lane := range []bus.Lane{bus.Records, bus.Heartbeat, bus.SyncRequest} {
			u.Publish = append(u.Publish, p.Between(lane, name, peer))
		}
		for _, lane := range []bus.Lane{bus.Records, bus.SyncRequest} { // Strangers covers heartbeats
			u.Subscribe = append(u.Subscribe, p.Between(lane, peer, name))
		}
		u.Publish = append(u.Publish, p.Inbox(peer)+"."+name+".>")
	}
	for _, verb := range verbs {
		kind := "$SRV." + verb + "." + string(p)
		u.Subscribe = append(u.Subscribe, "$SRV."+verb, kind, kind+".*")
	}
	for _, e := range cfg.Endpoints {
		u.Subscribe = append(u.Subscribe, e.Subject(p, name))
	}
	slices.Sort(u.Publish)
	slices.Sort(u.Subscribe)
	return u
}

// CheckNames reports a server that has the name of a user who is no server. Case is ignored,
// since users have files named after them, and some file systems ignore it too.
func CheckNames(servers []string) error {
	for _, name := range servers {
		for _, user := range []string{OpsUser, GuestUser, SystemUser} {
			if strings.EqualFold(name, user) {
				return fmt.Errorf("a server cannot be named %s: %s, %s and %s are users of the bus that are no servers", name, OpsUser, GuestUser, SystemUser)
			}
		}
	}
	return nil
}
