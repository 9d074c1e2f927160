package node

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandshakeTimeout: a connection that does not complete its handshake in time is
// closed, long before the idle timeout. One that does is served.
func TestHandshakeTimeout(t *testing.T) {
	t.Run("TLS", func(t *testing.T) {
		serverTLS, clientTLS := testTLS(t)
		synctest.Test(t, func(t *testing.T) {
			h := newTestHerd(t, "Solo")
			pipes := h.start("Solo", 1, func(cfg *Config) { cfg.TLS = serverTLS }).ln
			settle()
			wantClosedAfter(t, pipes.dial(nil), generous.Handshake)
			conn := tls.Client(pipes.dial(nil), clientTLS)
			defer conn.Close()
			c := &client{t, conn, bufio.NewReader(conn)}
			if got := c.ask("x"); got != "? x\n" {
				t.Errorf("the reply over TLS is %q", got)
			}
			settle()
			if n := h.servers["Solo"].node.Stats().Clients; n != 1 {
				t.Errorf("%d connections are open, want 1", n)
			}
			h.wantRefusals("Solo", "handshake_timeout", 1)
		})
	})
	t.Run("PROXY header", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			proxy := net.IPv4(10, 0, 0, 1)
			h := newSolo(t, func(cfg *Config) { cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
			settle()
			wantClosedAfter(t, h.dialFrom("Solo", proxy).conn, generous.Handshake)
			slow := h.dialFrom("Solo", proxy)
			slow.send("PROXY TCP4 203.0.113.7 198.51")
			wantClosedAfter(t, slow.conn, generous.Handshake)
			c := h.dialFrom("Solo", proxy)
			time.Sleep(generous.Handshake / 2)
			c.send(proxyHeader(t, 1, "203.0.113.7:1"))
			time.Sleep(generous.Handshake)
			if got := c.ask("x"); got != "? x\n" {
				t.Errorf("the reply behind a header is %q", got)
			}
			h.wantRefusals("Solo", "handshake_timeout", 2)
		})
	})
	t.Run("PROXY header and TLS", func(t *testing.T) { // one limit for both
		serverTLS, _ := testTLS(t)
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) {
				cfg.Proxies, cfg.TLS = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, serverTLS
			})
			settle()
			c := h.dialFrom("Solo", net.IPv4(10, 0, 0, 1))
			time.Sleep(generous.Handshake / 2)
			c.send(proxyHeader(t, 2, "203.0.113.7:1"))
			wantClosedAfter(t, c.conn, generous.Handshake/2)
		})
	})
	t.Run("stop", func(t *testing.T) { // does not wait for it
		serverTLS, _ := testTLS(t)
		synctest.Test(t, func(t *testing.T) {
			h := newSolo(t, func(cfg *Config) {
				cfg.Proxies, cfg.TLS = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, serverTLS
			})
			settle()
			h.dialFrom("Solo", net.IPv4(10, 0, 0, 1))
			h.dialFrom("Solo", net.IPv4(10, 0, 0, 1)).send(proxyHeader(t, 2, "203.0.113.7:1"))
			settle()
			began := time.Now()
			if err := h.servers["Solo"].stop(); err != nil || time.Since(began) > time.Second {
				t.Errorf("Run = %v, %v after the stop began", err, time.Since(began))
			}
			h.wantRefusals("Solo", "handshake_timeout", 0)
			h.wantRefusals("Solo", "proxy_header", 0)
		})
	})
}

// wantClosedAfter checks when the server closes a connection.
func wantClosedAfter(t *testing.T, conn net.Conn, want time.Duration) {
	t.Helper()
	defer conn.Close()
	began := time.Now()
	if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
		t.Errorf("a connection without a handshake reads %q, %v", got, err)
	}
	if took := time.Since(began); took != want {
		t.Errorf("a connection without a handshake was closed after %v, want %v", took, want)
	}
}

// TestSilentHandshakes: connections that begin no handshake take a share of all
// connections, and no client is refused for them.
func TestSilentHandshakes(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := testTLS(t)
	header := proxyHeader(t, 2, "203.0.113.7:1")
	for name, tt := range map[string]struct {
		with  func(*Config)
		begin string // what the others send before they are silent
		dial  func(address string) net.Conn
	}{
		"TLS": {
			func(cfg *Config) { cfg.TLS = serverTLS }, "\x16\x03\x01",
			func(address string) net.Conn { return tls.Client(dialTCP(t, address), clientTLS) },
		},
		"PROXY header": {
			func(cfg *Config) { cfg.Proxies = loopbackProxies }, "",
			func(address string) net.Conn { return &prefixed{dialTCP(t, address), header} },
		},
		"PROXY header and TLS": {
			func(cfg *Config) { cfg.TLS, cfg.Proxies = serverTLS, loopbackProxies }, proxyHeader(t, 2, "127.0.0.1:1"), // no limit of an address
			func(address string) net.Conn { return tls.Client(&prefixed{dialTCP(t, address), header}, clientTLS) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const conns, share, silent = 40, 10, 15
			n, address, _ := startSoloTCPWith(t, func(cfg *Config) {
				cfg.Limits.Conns, cfg.Limits.Handshake = conns, time.Hour
				tt.with(cfg)
			})
			var honest []*client
			for dropped := silent - share; len(honest) < 5; dropped += silent {
				for range silent {
					write(t, dialTCP(t, address), tt.begin)
				}
				eventually(t, func() bool { return n.Stats().Refusals["handshakes"] == uint64(dropped) })
				conn := tt.dial(address)
				honest = append(honest, &client{t, conn, bufio.NewReader(conn)})
				for i, c := range honest {
					if got := c.ask("x"); got != "? x\n" {
						t.Errorf("client %d of %d: reply %q", i, len(honest), got)
					}
				}
			}
			eventually(t, func() bool { return n.Stats().Clients == len(honest)+share-1 })
			for reason, count := range n.Stats().Refusals {
				if reason != "handshakes" && count > 0 {
					t.Errorf("%d refusals: %s", count, reason)
				}
			}
		})
	}
}
