package natsbus

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

const (
	// reconnectWait is the pause before the brokers that have just been tried are tried
	// again, and at least that before one is that has just ended our connection. Up to half
	// of it is added by chance, so that not all servers connect at once.
	reconnectWait = 200 * time.Millisecond
	// A connection that lived for less than shortLived counts as no success: the pause
	// grows with each in a row, up to shortLived.
	shortLived = 5 * time.Second
	// The patience with a broker is how long it has to accept a connection, and then how long
	// it has for the handshake. It doubles with each attempt, up to maxPatience, for a link
	// may be slow. It begins low for brokers that only another broker has advertised: their
	// addresses may lead nowhere from here.
	configuredPatience = 2 * time.Second
	advertisedPatience = 250 * time.Millisecond
	maxPatience        = 10 * time.Second
)

// brokers decides which broker is tried next, when, and how long. One goroutine uses it.
type brokers struct {
	configured []string // URLs, in a random order
	advertised []string // by the last broker that advertised any; each has the scheme and user of its URL
	serverName string   // what certificates of advertised brokers are for that are known by address only; "" for their address
	last       string   // the URL of the last connection; "" for none yet
	tried      map[string]int
	rounds     int // in which each broker was tried
	short      int // short-lived connections in a row
}

// attempt is one attempt to connect.
type attempt struct {
	url        string
	pause      time.Duration // before it
	patience   time.Duration
	serverName string // that the certificate must have; "" for the URL's
}

func newBrokers(urls []string) (*brokers, error) {
	b := &brokers{tried: map[string]int{}}
	for _, i := range rand.Perm(len(urls)) {
		u, err := bus.ParseURL(urls[i])
		if err != nil {
			return nil, err
		}
		b.configured = append(b.configured, u.String())
	}
	return b, nil
}

// next is the next attempt: in each round the configured brokers, the last one at their
// end, and then the advertised ones.
func (b *brokers) next() attempt {
	a, best := attempt{}, [3]int{}
	for i, list := range [][]string{b.configured, b.advertised} {
		for _, url := range list {
			rank := [3]int{b.tried[url], i, 0}
			if url == b.last {
				rank[2] = 1
			}
			if a.url == "" || slices.Compare(rank[:], best[:]) < 0 {
				a.url, best = url, rank
			}
		}
	}
	a.patience = configuredPatience
	if best[1] == 1 {
		a.patience, a.serverName = advertisedPatience, b.serverName
	}
	tried := best[0]
	a.patience = min(a.patience<<min(tried, 10), maxPatience)
	switch {
	case len(b.tried) == 0 && b.short > 1:
		a.pause = min(reconnectWait<<min(b.short-1, 10), shortLived)
	case tried > b.rounds || tried == 0 && a.url == b.last:
		a.pause = reconnectWait
	}
	if a.pause > 0 {
		a.pause += rand.N(reconnectWait / 2)
	}
	b.rounds = max(b.rounds, tried)
	b.tried[a.url]++
	return a
}

// connected notes that an attempt has led to a connection.
func (b *brokers) connected(url string) {
	b.last, b.rounds = url, 0
	clear(b.tried)
}

// lost notes how long that connection lived.
func (b *brokers) lost(lived time.Duration) {
	if b.short++; lived >= shortLived {
		b.short = 0
	}
}

// advertise takes the other brokers that the present one advertises, as nats.go returns
// them: scheme://host:port, without the one we are connected to.
func (b *brokers) advertise(urls []string) {
	last, err := url.Parse(b.last)
	if err != nil || len(urls) == 0 { // a broker that advertises none: others may still be there
		return
	}
	known := map[string]bool{last.Host: true}
	for _, s := range b.configured {
		if u, err := url.Parse(s); err == nil {
			known[u.Host] = true
		}
	}
	if net.ParseIP(last.Hostname()) == nil {
		b.serverName = last.Hostname()
	}
	b.advertised = nil
	for _, s := range urls {
		if u, err := url.Parse(s); err == nil && !known[u.Host] {
			u.Scheme, u.User = last.Scheme, last.User
			b.advertised = append(b.advertised, u.String())
		}
	}
}

// options are nats.go's for the attempt.
func (a attempt) options() []nats.Option {
	return []nats.Option{nats.Timeout(a.patience), func(o *nats.Options) error {
		u, err := url.Parse(a.url)
		if err != nil || a.serverName == "" || net.ParseIP(u.Hostname()) == nil {
			return nil
		}
		if o.TLSConfig == nil {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		o.TLSConfig.ServerName = a.serverName
		return nil
	}}
}
