package node

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

const (
	// ratePeriod is how long connRates remembers an address at least: its bucket is full
	// again after that time.
	ratePeriod = time.Second
	// maxAddresses is how many addresses connRates remembers of one period. If more connect,
	// it forgets addresses earlier, and each of them may connect more often.
	maxAddresses = 1 << 15
)

// limitedAddress is the address that the limits per address count a for. An IPv6 network
// of 64 bits is one address: one subscriber has at least that. It is the zero Addr if the
// limits do not apply: to loopback, and to what is no IP address.
func limitedAddress(a netip.Addr) netip.Addr {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsLoopback():
		return netip.Addr{}
	case a.Is6():
		network, _ := a.Prefix(64) // a valid length
		return network.Addr()
	}
	return a
}

// remoteAddress is the IP address of the other end of a connection; the zero Addr if it
// has none.
func remoteAddress(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// connRates limits how often each address connects: a number of times a second, and as
// many at once. Its memory is bounded, whatever the number of addresses. It is not safe for
// concurrent use.
type connRates struct {
	perSecond int // 0 for no limit

	// Buckets of the addresses that have connected since began, and in the period before. A
	// bucket that was not used for a period is full, which is what a new one is.
	recent, older map[netip.Addr]*rate.Limiter
	began         time.Time
}

// allow counts a connection of an address, unless it is one too many.
func (r *connRates) allow(a netip.Addr, now time.Time) bool {
	if r.perSecond == 0 {
		return true
	}
	if age := now.Sub(r.began); age >= ratePeriod || len(r.recent) >= maxAddresses {
		r.older, r.recent, r.began = r.recent, map[netip.Addr]*rate.Limiter{}, now
		if age >= 2*ratePeriod {
			r.older = nil
		}
	}
	bucket := r.recent[a]
	if bucket == nil {
		if bucket = r.older[a]; bucket == nil {
			bucket = rate.NewLimiter(rate.Limit(r.perSecond), r.perSecond)
		}
		r.recent[a] = bucket
	}
	return bucket.AllowN(now, 1)
}
