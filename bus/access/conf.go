package access

import (
	"fmt"
	"net"
	"strings"
)

// Broker is the part of a NATS server's configuration that does not depend on the
// rules.
type Broker struct {
	Name   string // unique among the brokers that are connected; "" lets the broker choose
	Listen string // host:port for servers and operators; port 0 is a free port
	HTTP   string // host:port for monitoring; "" disables it
	TLS    TLS

	// NoAuthUser, if set, is the user that clients without a key are.
	NoAuthUser string

	Cluster *Cluster // nil for a single broker
}

// TLS is the paths of files. With a CA, clients must present a certificate that it has
// signed.
type TLS struct{ Cert, Key, CA string }

// Cluster is the membership of a broker in a cluster. If Broker.TLS has a CA, the brokers
// use mutual TLS towards each other.
type Cluster struct {
	Name           string   // of the cluster; unique among regions
	Listen         string   // host:port for the other brokers
	Others         []string // host:port of each other broker
	User, Password string   // the same for all brokers
}

// The limits of a broker. MaxPayload is several times the longest record. The broker
// disconnects a client with more than MaxPending bytes unread, or that reads nothing for
// WriteDeadline; a server then reconnects and repairs its map.
const (
	MaxPayload    = 1 << 20
	MaxPending    = 64 << 20
	WriteDeadline = "10s"
)

// Conf returns the text of a nats.conf that enforces the rules. keys are the users'
// public nkeys by name. The text depends on nothing else.
func (r Rules) Conf(b Broker, keys map[string]string) string {
	var c conf
	if b.Name != "" {
		c.line("server_name: %q", b.Name)
	}
	c.line("listen: %q", natsAddress(b.Listen))
	if b.HTTP != "" {
		c.line("http: %q", natsAddress(b.HTTP))
	}
	c.line("max_payload: %d", MaxPayload)
	c.line("max_pending: %d", MaxPending)
	c.line("write_deadline: %q", WriteDeadline)
	c.line("no_fast_producer_stall: true # a slow subscriber must not delay the others")
	c.tls(b.TLS)
	if b.Cluster != nil {
		c.cluster(b)
	}
	c.line("")
	c.line("accounts {")
	c.indented(func() {
		c.line("%s {", Herd)
		c.indented(func() {
			c.line("jetstream: disabled # its API could publish on any edge")
			c.users(r, Herd, keys)
			c.exports(r)
		})
		c.line("}")
		c.line("%s {", Ops)
		c.indented(func() {
			c.line("jetstream: disabled")
			c.users(r, Ops, keys)
			c.imports(r)
		})
		c.line("}")
		c.line("%s {", System)
		c.indented(func() { c.users(r, System, keys) })
		c.line("}")
	})
	c.line("}")
	c.line("system_account: %s", System)
	if b.NoAuthUser != "" {
		c.line("no_auth_user: %s", keys[b.NoAuthUser])
	}
	return c.text.String()
}

// conf is a configuration that is being written.
type conf struct {
	text   strings.Builder
	indent string
}

func (c *conf) line(format string, v ...any) {
	if format != "" {
		c.text.WriteString(c.indent)
	}
	fmt.Fprintf(&c.text, format+"\n", v...)
}

// indented indents the lines that inner writes.
func (c *conf) indented(inner func()) {
	outer := c.indent
	c.indent += "  "
	inner()
	c.indent = outer
}

func (c *conf) tls(t TLS) {
	if t.Cert == "" {
		return
	}
	c.line("tls {")
	c.indented(func() {
		c.line("cert_file: %q", t.Cert)
		c.line("key_file: %q", t.Key)
		if t.CA != "" {
			c.line("ca_file: %q", t.CA)
			c.line("verify: true")
		}
	})
	c.line("}")
}

func (c *conf) cluster(b Broker) {
	c.line("")
	c.line("cluster {")
	c.indented(func() {
		c.line("name: %q", b.Cluster.Name)
		c.line("listen: %q", natsAddress(b.Cluster.Listen))
		c.line("authorization { user: %q, password: %q }", b.Cluster.User, b.Cluster.Password)
		c.line("routes: [")
		c.indented(func() {
			for _, other := range b.Cluster.Others {
				c.line("%q", fmt.Sprintf("nats://%s:%s@%s", b.Cluster.User, b.Cluster.Password, other))
			}
		})
		c.line("]")
		if b.TLS.CA != "" {
			c.tls(b.TLS)
		}
	})
	c.line("}")
}

func (c *conf) users(r Rules, account string, keys map[string]string) {
	c.line("users: [")
	c.indented(func() {
		for _, u := range r.Users {
			if u.Account != account {
				continue
			}
			c.line("# %s", u.comment())
			if account == System {
				c.line("{ nkey: %s }", keys[u.Name])
				continue
			}
			c.line("{ nkey: %s, permissions: {", keys[u.Name])
			c.indented(func() {
				c.subjects("publish", u.Publish, nil)
				c.subjects("subscribe", u.Subscribe, u.Hidden)
			})
			c.line("} }")
		}
	})
	c.line("]")
}

// comment describes a user.
func (u User) comment() string {
	switch {
	case u.Name == OpsUser:
		return u.Name + ": operators, read all messages and send all requests"
	case u.Name == GuestUser:
		return u.Name + ": reads all messages, and sends the requests that change nothing"
	case u.Account == System:
		return u.Name + ": administrators of the broker"
	case len(u.Neighbours) == 0:
		return u.Name
	}
	return u.Name + ", neighbour of " + strings.Join(u.Neighbours, " ")
}

// subjects writes one subject per line, so that a diff of two configurations shows what
// changed.
func (c *conf) subjects(what string, allowed, denied []string) {
	list := func(subjects []string) {
		c.indented(func() {
			for _, subject := range subjects {
				c.line("%q", subject)
			}
		})
	}
	c.line("%s: { allow: [", what)
	list(allowed)
	if len(denied) > 0 {
		c.line("], deny: [")
		list(denied)
	}
	c.line("] }")
}

func (c *conf) exports(r Rules) {
	c.line("exports: [")
	c.indented(func() {
		for _, subject := range r.Streams {
			c.line("{ stream: %q, accounts: [%s] }", subject, Ops)
		}
		for _, subject := range r.Services { // a stream of replies: one from each server
			c.line("{ service: %q, response_type: stream, accounts: [%s] }", subject, Ops)
		}
	})
	c.line("]")
}

func (c *conf) imports(r Rules) {
	c.line("imports: [")
	c.indented(func() {
		for _, subject := range r.Streams {
			c.line("{ stream: { account: %s, subject: %q } }", Herd, subject)
		}
		for _, subject := range r.Services {
			c.line("{ service: { account: %s, subject: %q } }", Herd, subject)
		}
	})
	c.line("]")
}

// natsAddress converts an address for a NATS server, where port -1 is a free port and 0
// the default port.
func natsAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && port == "0" {
		return net.JoinHostPort(host, "-1")
	}
	return address
}
