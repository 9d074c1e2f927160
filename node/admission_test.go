package node

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestLimitedAddress(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.7":             "203.0.113.7",
		"::ffff:203.0.113.7":      "203.0.113.7",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1:2::",
		"2001:db8:1:2::":          "2001:db8:1:2::",
		"2001:db8:1:3::1":         "2001:db8:1:3::",
		"fe80::1%eth0":            "fe80::",
		"127.0.0.1":               "invalid IP", // no limit
		"127.9.9.9":               "invalid IP",
		"::1":                     "invalid IP",
		"::ffff:127.0.0.1":        "invalid IP",
		"10.0.0.1":                "10.0.0.1",
		"64:ff9b:0:1:cb00:7107::": "64:ff9b:0:1::",
	} {
		if got := limitedAddress(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("limitedAddress(%s) = %s, want %s", in, got, want)
		}
	}
	if got := limitedAddress(netip.Addr{}); got.IsValid() {
		t.Errorf("limitedAddress of no address = %s, want none", got)
	}
}

// TestConnRates: an address connects as often as the limit allows, whatever others do and
// however often it was refused.
func TestConnRates(t *testing.T) {
	r := connRates{perSecond: 10}
	greedy, honest := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	now := time.Now()
	greedyAllowed := 0
	for range 5000 { // for 5 s, 1000 times a second
		if r.allow(greedy, now) {
			greedyAllowed++
		}
		now = now.Add(time.Millisecond)
	}
	if greedyAllowed < 10+49 || greedyAllowed > 10+50 {
		t.Errorf("%d connections of one address in 5 s, want a burst of 10, and 10 a second", greedyAllowed)
	}
	for i := range 10 {
		if !r.allow(honest, now) {
			t.Errorf("another address was refused after %d connections", i)
		}
	}
	if r.allow(honest, now) {
		t.Error("an 11th connection at once was allowed")
	}
	if now = now.Add(ratePeriod); !r.allow(greedy, now) {
		t.Error("after a pause the address was refused")
	}
	unlimited := connRates{}
	for range 1000 {
		if !unlimited.allow(greedy, now) {
			t.Fatal("refused without a limit")
		}
	}
}

// TestConnRatesAreBounded: a flood of addresses needs bounded memory, which is free after
// it, and refuses no address.
func TestConnRatesAreBounded(t *testing.T) {
	r := connRates{perSecond: 1}
	now := time.Now()
	a := netip.MustParseAddr("2001:db8::")
	next := func() netip.Addr {
		b := a.As16()
		for i := 7; ; i-- {
			if b[i]++; b[i] != 0 {
				break
			}
		}
		a = netip.AddrFrom16(b)
		return a
	}
	for range 5 * maxAddresses {
		if !r.allow(next(), now) {
			t.Fatal("a new address was refused")
		}
		if held := len(r.recent) + len(r.older); held > 2*maxAddresses {
			t.Fatalf("%d addresses are held, want at most %d", held, 2*maxAddresses)
		}
	}
	if r.allow(a, now) {
		t.Error("the last address was forgotten")
	}
	now = now.Add(2 * ratePeriod)
	r.allow(a, now)
	if held := len(r.recent) + len(r.older); held != 1 {
		t.Errorf("%d addresses are held after a pause, want 1", held)
	}
}

// TestHandshakesDropTheOldest: the oldest handshake makes room, and those that are done do
// not count.
func TestHandshakesDropTheOldest(t *testing.T) {
	h := handshakes{most: 2}
	begin := func(name string, wantDropped string) (end func(wantDropped bool)) {
		t.Helper()
		entry, oldest := h.begin(&addressed{remote: &net.UnixAddr{Name: name}})
		got := ""
		if oldest != nil {
			got = oldest.RemoteAddr().String()
		}
		if got != wantDropped {
			t.Errorf("%s drops %q, want %q", name, got, wantDropped)
		}
		return func(wantDropped bool) {
			t.Helper()
			if dropped := h.end(entry); dropped != wantDropped {
				t.Errorf("%s was dropped: %v, want %v", name, dropped, wantDropped)
			}
		}
	}
	a := begin("a", "")
	b := begin("b", "")
	b(false)
	c := begin("c", "")
	d := begin("d", "a")
	a(true)
	e := begin("e", "c")
	c(true)
	d(false)
	e(false)
	if n := h.inProgress.Len(); n != 0 {
		t.Errorf("%d handshakes are in progress at the end", n)
	}
}

// TestAdmit: the number of open connections of an address, which IPv6 networks of 64 bits
// are, too.
func TestAdmit(t *testing.T) {
	c := newClients(Limits{Conns: 8, ConnRate: 100})
	now := time.Now()
	admit := func(address string) (*addressed, bool) {
		conn := &addressed{}
		if !c.add(conn) {
			t.Fatal("too many connections")
		}
		why, ok := c.admit(conn, netip.MustParseAddr(address), now)
		if !ok {
			c.remove(conn)
			if why != tooManyOfAddress {
				t.Errorf("%s is refused because of %s", address, refusalTexts[why].reason)
			}
		}
		return conn, ok
	}
	var open []*addressed
	for i := range 4 {
		conn, ok := admit(fmt.Sprintf("2001:db8::%d", i))
		if !ok {
			t.Errorf("connection %d of the network was refused", i)
		}
		open = append(open, conn)
	}
	if _, ok := admit("2001:db8::5"); ok {
		t.Error("one network has more than half of the connections")
	}
	if _, ok := admit("2001:db8:0:1::5"); !ok {
		t.Error("another network was refused")
	}
	c.remove(open[0])
	if _, ok := admit("2001:db8::5"); !ok {
		t.Error("the network was refused although one of its connections has ended")
	}
}
