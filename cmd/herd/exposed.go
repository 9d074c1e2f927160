package main

import (
	"net"
	"net/url"
	"slices"

	"herd/bus/access"
)

// warnExposed warns of what others than this machine's own people can reach without
// being anybody to the broker. keys are those of a bus of our own, nil for another's.
func (p *process) warnExposed(keys access.Keys) {
	s := p.settings
	if keys != nil {
		if !loopback(s.natsListen) {
			p.log.Warn("the bus can be reached from outside, where whoever comes without a key reads all of it; bus-config makes a broker that asks for keys",
				"address", s.natsListen)
		}
		return
	}
	if s.knownToBroker() {
		return
	}
	for _, server := range p.servers {
		if address := server.clients.Addr().String(); !loopback(address) {
			p.log.Warn("clients can come from outside, and we are nobody in particular to NATS: if it has no users, whoever reaches it may speak on any edge; bus-config writes a configuration that has",
				"node", server.name, "address", address)
		}
	}
}

// knownToBroker tells whether we show anything to NATS that says who we are.
func (s settings) knownToBroker() bool {
	return s.seed != "" || s.creds != "" || s.cert != "" || slices.ContainsFunc(s.natsURLs, func(raw string) bool {
		u, err := url.Parse(raw)
		return err == nil && u.User != nil
	})
}

// loopback tells whether who listens at an address can be reached from this machine
// only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
