package access

import (
	"fmt"
	"net"
	"strings"
)

// Broker is what a NATS server's configuration holds beside the rules.
type Broker struct {
	Listen string // host:port for the herd and its operators; port 0 is a free one
	HTTP   string // host:port for monitoring; "" is none
	TLS    TLS

	// NoKey, where set, is the user whose rights has whoever comes without a key.
	NoKey string

	Cluster *Cluster // nil is none
}

// TLS is files. With an authority as well, whoever connects must have a certificate
// of it.
type TLS struct{ Cert, Key, CA string }

// Cluster is a broker's place among others. What they say to each other is in TLS,
// both ends with a certificate, where Broker.TLS has an authority.
type Cluster struct {
	Name           string // the cluster's, another for each region
	ServerName     string // this broker's, another for each
	Listen         string // host:port for the other brokers
	Others         []string
	User, Password string // for all of them
}

// The limits of a broker. Records of the longest line fit MaxPayload many times; a
// reader that lets MaxPending wait, or takes nothing for WriteDeadline, is cut off,
// and comes back and repairs if it is a server.
const (
	MaxPayload    = 1 << 20
	MaxPending    = 64 << 20
	WriteDeadline = "10s"
)

// Conf is the configuration of a NATS server that holds to the rules: the text of a
// nats.conf. keys is the users' public nkeys, by name. Equal rules, brokers and keys
// give equal text.
func (r Rules) Conf(b Broker, keys map[string]string) string {
	var c conf
	if b.Cluster != nil {
		c.line("server_name: %q", b.Cluster.ServerName)
	}
	c.line("listen: %q", anyPort(b.Listen))
	if b.HTTP != "" {
		c.line("http: %q", anyPort(b.HTTP))
	}
	c.line("max_payload: %d", MaxPayload)
	c.line("max_pending: %d", MaxPending)
	c.line("write_deadline: %q", WriteDeadline)
	c.line("no_fast_producer_stall: true # a slow tap must not hold up the herd")
	c.tls(b.TLS)
	if b.Cluster != nil {
		c.cluster(b)
	}
	c.line("")
	c.line("accounts {")
	c.in(func() {
		c.line("%s {", Herd)
		c.in(func() {
			c.line("jetstream: disabled # its API would speak on any edge for whoever may use it")
			c.users(r, Herd, keys)
			c.exports(r)
		})
		c.line("}")
		c.line("%s {", Ops)
		c.in(func() {
			c.line("jetstream: disabled")
			c.users(r, Ops, keys)
			c.imports(r)
		})
		c.line("}")
		c.line("%s {", System)
		c.in(func() { c.users(r, System, keys) })
		c.line("}")
	})
	c.line("}")
	c.line("system_account: %s", System)
	if b.NoKey != "" {
		c.line("no_auth_user: %s", keys[b.NoKey])
	}
	return c.text.String()
}

// conf is a configuration as it is written.
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

// in indents what inner writes.
func (c *conf) in(inner func()) {
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
	c.in(func() {
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
	c.in(func() {
		c.line("name: %q", b.Cluster.Name)
		c.line("listen: %q", anyPort(b.Cluster.Listen))
		c.line("authorization { user: %q, password: %q }", b.Cluster.User, b.Cluster.Password)
		c.line("routes: [")
		c.in(func() {
			for _, other := range b.Cluster.Others {
				c.line(`"nats://%s:%s@%s"`, b.Cluster.User, b.Cluster.Password, other)
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
	c.in(func() {
		for _, u := range r.Users {
			if u.Account != account {
				continue
			}
			c.line("# %s", u.about())
			if account == System {
				c.line("{ nkey: %s }", keys[u.Name])
				continue
			}
			c.line("{ nkey: %s, permissions: {", keys[u.Name])
			c.in(func() {
				c.subjects("publish", u.Publish)
				c.subjects("subscribe", u.Subscribe)
			})
			c.line("} }")
		}
	})
	c.line("]")
}

// about is a remark on a user.
func (u User) about() string {
	switch {
	case u.Account == Ops:
		return u.Name + ", who may hear all and ask"
	case u.Account == System:
		return u.Name + ", who looks after the broker"
	case len(u.Neighbours) == 0:
		return u.Name
	}
	return u.Name + ", neighbour of " + strings.Join(u.Neighbours, " ")
}

// subjects has a line for each, so that comparing two configurations shows what
// changed.
func (c *conf) subjects(what string, allowed []string) {
	c.line("%s: { allow: [", what)
	c.in(func() {
		for _, subject := range allowed {
			c.line("%q", subject)
		}
	})
	c.line("] }")
}

func (c *conf) exports(r Rules) {
	c.line("exports: [")
	c.in(func() {
		for _, subject := range r.Heard {
			c.line("{ stream: %q, accounts: [%s] }", subject, Ops)
		}
		for _, subject := range r.Asked { // each server answers: a stream of answers
			c.line("{ service: %q, response_type: stream, accounts: [%s] }", subject, Ops)
		}
	})
	c.line("]")
}

func (c *conf) imports(r Rules) {
	c.line("imports: [")
	c.in(func() {
		for _, subject := range r.Heard {
			c.line("{ stream: { account: %s, subject: %q } }", Herd, subject)
		}
		for _, subject := range r.Asked {
			c.line("{ service: { account: %s, subject: %q } }", Herd, subject)
		}
	})
	c.line("]")
}

// anyPort is an address as a NATS server takes it: there, a free port is -1, and 0
// is the usual one.
func anyPort(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && port == "0" {
		return net.JoinHostPort(host, "-1")
	}
	return address
}
