package main

import (
	"net"
	"net/url"
	"slices"
)

// warnPublic warns about ports that other hosts can reach without authentication to
// the bus.
func (p *process) warnPublic() {
	s := p.settings
	if p.embedded != nil { // the embedded NATS server
		if !loopback(s.natsListen) {
			p.log.Warn("NATS port is public and clients without a key can read all messages and send requests: use a broker that requires keys, see herd bus-config",
				"address", s.natsListen)
		}
		return
	}
	if s.authenticates() {
		return
	}
	for _, server := range p.servers {
		if address := server.clients.Addr().String(); !loopback(address) {
			p.log.Warn("client port is public and the NATS connection is unauthenticated: if the broker has no users, anyone who reaches it can publish on any edge; see herd bus-config",
				"node", server.name, "address", address)
		}
	}
}

// authenticates reports whether the process presents credentials to NATS.
func (s settings) authenticates() bool {
	return s.seed != "" || s.creds != "" || s.cert != "" || slices.ContainsFunc(s.natsURLs, func(raw string) bool {
		u, err := url.Parse(raw)
		return err == nil && u.User != nil
	})
}

// loopback reports whether an address accepts connections from this host only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
