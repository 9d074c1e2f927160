package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// dialProxied connects as a proxy does for a client with an address.
func dialProxied(t *testing.T, address, clientAddress string) *client {
	t.Helper()
	c := dial(t, address)
	c.send(fmt.Sprintf("PROXY TCP4 %s 198.51.100.1 56324 12000\r\n", clientAddress))
	return c
}

// TestProxyProtocol: with the settings for it, clients behind a proxy have limits of their
// own, which are counted and logged, and each client below them is served.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	h := startUp(t, "A", "HERD_PROXY_PROTOCOL=10.0.0.0/8,127.0.0.1", "HERD_MAX_CONN_RATE=1/s")
	if banner := h.stdout.String(); strings.Contains(banner, "Try:") {
		t.Errorf("the banner has a command that cannot work:\n%s", banner)
	}
	at := h.addresses[0]
	refused := 0
	for i := range 50 {
		greedy := dialProxied(t, at, "203.0.113.7")
		io.WriteString(greedy.conn, "IAMAT kiwi +1+1 1\n") // an error if it is closed
		if reply, err := io.ReadAll(io.LimitReader(greedy.conn, 5)); err != nil || len(reply) == 0 {
			refused++
		} else if string(reply) != "AT A " {
			t.Errorf("reply %q", reply)
		}
		greedy.conn.Close()
		if i%10 == 0 {
			if got := dialProxied(t, at, fmt.Sprintf("203.0.113.%d", 100+i)).ask("x"); got != "? x" {
				t.Errorf("another client gets %q", got)
			}
		}
	}
	if refused == 0 {
		t.Error("no connection was refused")
	}
	direct := dial(t, at)
	direct.send("IAMAT kiwi +1+1 1\n")
	if reply, _ := io.ReadAll(direct.conn); len(reply) > 0 {
		t.Errorf("a connection without a header gets %q", reply)
	}
	all := scrape(t, h.ops)
	for reason, want := range map[string]float64{"connection_rate": float64(refused), "proxy_header": 1, "connections": 0} {
		if got := sum(all, "herd_client_refusals_total", "server", "A", "reason", reason); got != want {
			t.Errorf("%v refusals are counted for %s, want %v", got, reason, want)
		}
	}
	h.stderr.await(t, `level=WARN msg="connections refused: too many a second from one address" node=A count=\d+ last="203\.0\.113\.7:56324: `)
	h.stderr.await(t, `level=WARN msg="connections closed: no PROXY protocol header from a proxy" node=A count=1 last="127\.0\.0\.1:\d+: `)
	h.stop()
}
