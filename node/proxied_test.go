package node

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These tests use the kernel's TCP. Their clients are on loopback, which has no limits per
// address; PROXY headers give them other addresses.

var loopbackProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// dialTCP connects to an address until the test ends.
func dialTCP(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

// prefixed sends a header and the first data in one write.
type prefixed struct {
	net.Conn
	header string
}

func (p *prefixed) Write(b []byte) (int, error) {
	header := p.header
	p.header = ""
	n, err := p.Conn.Write(append([]byte(header), b...))
	return max(0, n-len(header)), err
}

// dialProxied connects as a proxy does for a client.
func dialProxied(t *testing.T, address, clientAddress string) *client {
	t.Helper()
	conn := dialTCP(t, address)
	write(t, conn, proxyHeader(t, 1, clientAddress))
	return &client{t, conn, bufio.NewReader(conn)}
}

// isServed reports whether a client gets a reply, or its connection is closed.
func (c *client) isServed() bool {
	c.t.Helper()
	io.WriteString(c.conn, "x\n") // an error if the connection is closed
	reply, err := c.r.ReadString('\n')
	if err == nil && reply != "? x\n" {
		c.t.Errorf("reply %q", reply)
	}
	return err == nil
}

// TestConnRate: an address that connects too often is refused, and other addresses are
// served meanwhile. An IPv6 network of 64 bits is one address.
func TestConnRate(t *testing.T) {
	t.Parallel()
	n, address, _ := startSoloTCPWith(t, func(cfg *Config) { cfg.Proxies, cfg.Limits.ConnRate = loopbackProxies, 1 })
	refused := 0
	for i := range 50 { // a minute's worth, each
		for _, greedy := range []string{"203.0.113.1:1", fmt.Sprintf("[2001:db8::%d]:1", i+1)} {
			c := dialProxied(t, address, greedy)
			if !c.isServed() {
				refused++
			}
			c.conn.Close()
		}
		if i%10 == 0 && !dialProxied(t, address, fmt.Sprintf("203.0.113.%d:1", 10+i)).isServed() {
			t.Errorf("another address was refused")
		}
		direct := dialProxied(t, address, "127.0.0.1:1")
		if !direct.isServed() {
			t.Error("loopback was refused")
		}
		direct.conn.Close()
	}
	if got := n.Stats().Refusals["connection_rate"]; refused < 50 || got != uint64(refused) {
		t.Errorf("%d of 100 connections were refused and %d counted, want most of them", refused, got)
	}
}

// TestConnectionsOfOneAddress: an address has at most half of the connections, and other
// addresses are served while it has.
func TestConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	n, address, _ := startSoloTCPWith(t, func(cfg *Config) { cfg.Proxies, cfg.Limits.Conns = loopbackProxies, 16 })
	var open []*client
	for i := range 8 {
		c := dialProxied(t, address, fmt.Sprintf("[2001:db8::%d]:1", i+1))
		if !c.isServed() {
			t.Fatalf("connection %d was refused", i)
		}
		open = append(open, c)
	}
	for range 3 {
		if dialProxied(t, address, "[2001:db8::99]:1").isServed() {
			t.Error("an address has more than half of the connections")
		}
		honest := dialProxied(t, address, "203.0.113.1:1")
		if !honest.isServed() {
			t.Error("another address was refused")
		}
		honest.conn.Close()
	}
	open[0].conn.Close()
	eventually(t, func() bool {
		c := dialProxied(t, address, "[2001:db8::99]:1")
		defer c.conn.Close()
		return c.isServed()
	})
	if got := n.Stats().Refusals["address_connections"]; got < 3 {
		t.Errorf("%d refusals were counted, want 3 or more", got)
	}
}

// TestProxiedConnections: behind a header a connection works as any other, also one that
// pauses, and the logs have the client's address.
func TestProxiedConnections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log logBuffer
	n, address, stop := startSoloTCPWith(t, func(cfg *Config) {
		cfg.Proxies, cfg.LogDir, cfg.Log = loopbackProxies, dir, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c := dialProxied(t, address, "203.0.113.7:56324")
	if got := c.ask("IAMAT kiwi +1+1 1"); !strings.HasPrefix(got, "AT Solo ") {
		t.Errorf("reply %q", got)
	}
	time.Sleep(parkAfter * 3 / 2) // for the session to park. If it does not, the test passes all the same
	if got := c.ask("x"); got != "? x\n" {
		t.Errorf("reply %q after a pause", got)
	}
	atOnce := dialTCP(t, address)
	write(t, atOnce, proxyHeader(t, 2, "[2001:db8::7]:99")+"a\nb")
	atOnce.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(atOnce); err != nil || string(got) != "? a\n? b" && string(got) != "? a\n? b\n" {
		t.Errorf("replies %q, %v to what came with the header", got, err)
	}
	local := dialTCP(t, address)
	write(t, local, localV2+"own\n")
	if got, err := bufio.NewReader(local).ReadString('\n'); got != "? own\n" {
		t.Errorf("reply %q, %v behind a header without an address", got, err)
	}
	own := local.LocalAddr().String()
	dialTCP(t, address).Close() // a health check
	eventually(t, func() bool { return strings.Contains(log.String(), "connection lost during the handshake") })
	if accepted := n.Stats().Accepted; accepted != 3 {
		t.Errorf("%d clients were accepted, want 3", accepted)
	}
	for reason, count := range n.Stats().Refusals {
		if count > 0 {
			t.Errorf("%d refusals: %s", count, reason)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	traffic, err := os.ReadFile(filepath.Join(dir, "Solo.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"client open 203.0.113.7:56324\n", "client in 203.0.113.7:56324 IAMAT kiwi", "client close 203.0.113.7:56324\n",
		"client open [2001:db8::7]:99\n", "client close [2001:db8::7]:99\n",
		"client open " + own + "\n", "client close " + own + "\n",
	} {
		if !strings.Contains(string(traffic), line) {
			t.Errorf("the traffic log has no %q:\n%s", line, traffic)
		}
	}
	if opened, closed := strings.Count(string(traffic), "client open"), strings.Count(string(traffic), "client close"); opened != 3 || closed != 3 {
		t.Errorf("the traffic log has %d connections that were opened and %d that were closed, want 3:\n%s", opened, closed, traffic)
	}
	if !strings.Contains(log.String(), `msg="record from client" node=Solo client=203.0.113.7:56324`) {
		t.Errorf("the log does not have the client's address:\n%s", log.String())
	}
}

// TestProxiedTLS: the header comes before TLS.
func TestProxiedTLS(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := testTLS(t)
	_, address, _ := startSoloTCPWith(t, func(cfg *Config) { cfg.Proxies, cfg.TLS = loopbackProxies, serverTLS })
	for version := range byte(2) {
		conn := tls.Client(&prefixed{dialTCP(t, address), proxyHeader(t, version+1, "203.0.113.7:1")}, clientTLS)
		c := &client{t, conn, bufio.NewReader(conn)}
		if got := c.ask("x"); got != "? x\n" {
			t.Errorf("version %d: reply %q", version+1, got)
		}
	}
}

// TestBadProxyHeaders: connections of a proxy without a header are closed, with a log line
// a second at most, while other clients are served.
func TestBadProxyHeaders(t *testing.T) {
	t.Parallel()
	var log logBuffer
	n, address, _ := startSoloTCPWith(t, func(cfg *Config) {
		cfg.Proxies, cfg.Log = loopbackProxies, slog.New(slog.NewTextHandler(&log, nil))
	})
	began := time.Now()
	const bad = 60
	honest := dialProxied(t, address, "203.0.113.1:1")
	for i := range bad {
		conn := dialTCP(t, address)
		write(t, conn, []string{"IAMAT kiwi +1+1 1\n", "PROXY TCP4 a b c d\r\nIAMAT kiwi +1+1 1\n", signatureV2 + "\x21\x11\xff\xff" + "IAMAT"}[i%3])
		if got, _ := io.ReadAll(conn); len(got) > 0 { // the error may be a reset
			t.Fatalf("a connection without a header got %q", got)
		}
		if !honest.isServed() {
			t.Fatal("another client is not served")
		}
	}
	lines := strings.Count(log.String(), "connections closed: no PROXY protocol header")
	if most := 2 + int(time.Since(began)/time.Second); lines == 0 || lines > most {
		t.Errorf("%d log lines, want 1 to %d", lines, most)
	}
	if got := n.Stats(); got.Refusals["proxy_header"] != bad || got.Records != 0 {
		t.Errorf("refusals %v, want %d of headers; %d records, want none", got.Refusals, bad, got.Records)
	}
}

// TestHeadersOfOthers: connections from elsewhere are not searched for headers.
func TestHeadersOfOthers(t *testing.T) {
	t.Parallel()
	_, address, _ := startSoloTCPWith(t, func(cfg *Config) { cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	c := dialProxied(t, address, "203.0.113.1:1")
	if got, want := c.line(), "? "+proxyHeader(t, 1, "203.0.113.1:1"); got != want {
		t.Errorf("reply %q, want %q", got, want)
	}
}
