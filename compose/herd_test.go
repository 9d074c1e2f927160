package compose_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// herd is a stack as its clients see it, with what they told it.
type herd struct {
	*stack
	servers []string          // services, in the topology's order
	told    map[string]string // by client, the AT line that every server must answer
}

func newHerd(s *stack, servers ...string) *herd {
	return &herd{stack: s, servers: servers, told: map[string]string{}}
}

// ask says a line to a server, from the host, and returns all that it answers.
func (h *herd) ask(server, line string) (string, error) {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+h.ports[server], 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	conn.(*net.TCPConn).CloseWrite()
	reply, err := io.ReadAll(conn)
	return string(reply), err
}

// report tells a server where a new client is.
func (h *herd) report(t *testing.T, server string) (client string) {
	t.Helper()
	client = fmt.Sprintf("client-%d.%s", len(h.told), server)
	where := fmt.Sprintf("%s +34.068930-118.445127 %d", client, time.Now().Unix())
	reply, err := h.ask(server, "IAMAT "+where)
	name := strings.ToUpper(server[:1]) + server[1:]
	if err != nil || !strings.HasPrefix(reply, "AT "+name+" ") || !strings.HasSuffix(reply, " "+where+"\n") {
		t.Fatalf("IAMAT to %s: %q, %v", server, reply, err)
	}
	h.told[client] = reply
	return client
}

// knows returns an error unless a server answers for all clients what it was told.
func (h *herd) knows(server string) error {
	for _, client := range slices.Sorted(maps.Keys(h.told)) {
		reply, err := h.ask(server, "WHATSAT "+client+" 0 0")
		if err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
		if !strings.HasPrefix(reply, h.told[client]) {
			return fmt.Errorf("%s answers %q, not what %s was told", server, reply, client)
		}
	}
	return nil
}

// awaitAll waits until all servers know all.
func (h *herd) awaitAll(t *testing.T) {
	t.Helper()
	for _, server := range h.servers {
		await(t, patience, func() error { return h.knows(server) })
	}
}

// speaks drives the protocol at every port.
func (h *herd) speaks(t *testing.T) {
	t.Helper()
	for _, server := range h.servers {
		h.report(t, server)
		if reply, err := h.ask(server, "hello"); err != nil || reply != "? hello\n" {
			t.Errorf("hello to %s: %q, %v", server, reply, err)
		}
	}
	h.awaitAll(t)
	for _, server := range h.servers {
		reply, err := h.ask(server, "WHATSAT client-0."+h.servers[0]+" 10 2")
		if err != nil || !strings.Contains(reply, `"status" : "OK"`) || strings.Count(reply, `"place_id"`) != 2 || !strings.HasSuffix(reply, "}\n\n") {
			t.Errorf("WHATSAT to %s: %q, %v", server, reply, err)
		}
	}
}
