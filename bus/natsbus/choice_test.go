package natsbus

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestBrokers: configured brokers come first in each round, the last one at their end, then
// those that were advertised. Pauses and patience grow.
func TestBrokers(t *testing.T) {
	b, err := newBrokers([]string{"nats://me:pw@one:1", "two:2"})
	if err != nil {
		t.Fatal(err)
	}
	b.configured = []string{"nats://me:pw@one:1", "nats://two:2"}
	next := func(want string, pauses bool, patience time.Duration) {
		t.Helper()
		a := b.next()
		if a.url != want || (a.pause > 0) != pauses || a.patience != patience {
			t.Errorf("next = %s after %v with %v, want %s after a pause: %v, with %v", a.url, a.pause, a.patience, want, pauses, patience)
		}
	}
	next("nats://me:pw@one:1", false, configuredPatience)
	b.connected("nats://me:pw@one:1")
	b.advertise([]string{"nats://10.0.0.3:3", "nats://two:2", "nats://one:1"})
	b.lost(time.Hour)
	const advertised = "nats://me:pw@10.0.0.3:3"
	next("nats://two:2", false, configuredPatience)
	next("nats://me:pw@one:1", true, configuredPatience) // it has just ended our connection
	next(advertised, false, advertisedPatience)
	next("nats://two:2", true, 2*configuredPatience)
	next("nats://me:pw@one:1", false, 2*configuredPatience)
	next(advertised, false, 2*advertisedPatience)
	for range 60 {
		b.next()
	}
	next("nats://two:2", true, maxPatience)
	next("nats://me:pw@one:1", false, maxPatience)
	if a := b.next(); a.url != advertised || a.patience != maxPatience || a.serverName != "one" {
		t.Errorf("next = %+v, want the advertised one, with the name of the one that advertised it", a)
	}
	b.connected(advertised)
	b.advertise([]string{"nats://10.0.0.4:4"})
	var pauses []time.Duration
	for range 7 {
		b.lost(0)
		a := b.next()
		pauses = append(pauses, a.pause)
		b.connected(a.url)
	}
	if !slices.IsSorted(pauses[:5]) || pauses[0] >= 2*reconnectWait || pauses[6] < shortLived {
		t.Errorf("pauses after short-lived connections: %v", pauses)
	}
}

// TestAdvertised: an advertised address that says nothing does not prevent the way back to the
// configured broker.
func TestAdvertised(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	tried := make(chan bool, 100)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			tried <- true
		}
	}()
	cluster := func(name, advertise string, routes ...string) *server.Options {
		return &server.Options{
			ServerName: name, ClientAdvertise: advertise, Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1},
			Routes: server.RoutesFromStr(strings.Join(routes, ",")),
		}
	}
	first := startServer(t, cluster("one", ""))
	route := fmt.Sprintf("nats://%s", first.ClusterAddr())
	startServer(t, cluster("two", silent.Addr().String(), route))
	b := New(Config{URLs: []string{first.ClientURL()}, Prefix: "herd", Server: "A", Epoch: 1, Log: testLog(t)})
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	awaitAdvertised(t, b)
	address := first.Addr().String()
	first.Shutdown()
	expect(t, "disconnected", h.connected, false)
	expect(t, "the silent one is tried", tried, true)
	startServerAt(t, address, cluster("one", ""))
	expect(t, "connected", h.connected, true)
}

// TestFailover: a broker that only another one has advertised is used once all that were
// configured are gone, with the user and password of their URL.
func TestFailover(t *testing.T) {
	t.Parallel()
	options := func(name string, routes ...string) *server.Options {
		return &server.Options{
			ServerName: name, Username: "me", Password: "pw", Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1},
			Routes: server.RoutesFromStr(strings.Join(routes, ",")),
		}
	}
	first := startServer(t, options("one"))
	second := startServer(t, options("two", fmt.Sprintf("nats://%s", first.ClusterAddr())))
	b := New(Config{URLs: []string{strings.Replace(first.ClientURL(), "://", "://me:pw@", 1)}, Prefix: "herd", Server: "A", Epoch: 1, Log: testLog(t)})
	h := newReceiver()
	start(t, b, h)
	expect(t, "connected", h.connected, true)
	awaitAdvertised(t, b)
	first.Shutdown()
	expect(t, "disconnected", h.connected, false)
	expect(t, "connected", h.connected, true)
	if second.NumClients() != 1 {
		t.Errorf("the second broker has %d clients, want 1", second.NumClients())
	}
}

// awaitAdvertised waits until the broker has advertised another one, and the connection has noticed that: it looks at what
// is advertised, and then sets the maximum payload.
func awaitAdvertised(t *testing.T, b *Bus) {
	t.Helper()
	eventually(t, "a broker is advertised", func() bool {
		nc := b.publisher.conn.Load()
		return nc != nil && len(nc.DiscoveredServers()) > 0
	})
	b.publisher.maxPayload.Store(0)
	eventually(t, "the connection notices it", func() bool { return b.publisher.maxPayload.Load() > 0 })
}
