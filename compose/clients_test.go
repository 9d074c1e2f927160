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

// herd is a stack and what its clients have reported.
type herd struct {
	*stack
	servers []string          // services, in the topology's order
	reports map[string]string // by client: the AT line that every server must answer
}

func newHerd(s *stack, servers ...string) *herd {
	return &herd{stack: s, servers: servers, reports: map[string]string{}}
}

// ask sends a line to a server from the host and returns the complete reply.
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

// report sends the location of a new client to a server.
func (h *herd) report(t *testing.T, server string) (client string) {
	t.Helper()
	client = fmt.Sprintf("client-%d.%s", len(h.reports), server)
	where := fmt.Sprintf("%s +34.068930-118.445127 %d", client, time.Now().Unix())
	reply, err := h.ask(server, "IAMAT "+where)
	name := strings.ToUpper(server[:1]) + server[1:]
	if err != nil || !strings.HasPrefix(reply, "AT "+name+" ") || !strings.HasSuffix(reply, " "+where+"\n") {
		t.Fatalf("IAMAT to %s: %q, %v", server, reply, err)
	}
	h.reports[client] = reply
	return client
}

// checkReports returns an error unless a server knows the reports of all clients.
func (h *herd) checkReports(server string) error {
	for _, client := range slices.Sorted(maps.Keys(h.reports)) {
		reply, err := h.ask(server, "WHATSAT "+client+" 0 0")
		if err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
		if !strings.HasPrefix(reply, h.reports[client]) {
			return fmt.Errorf("%s replies %q about %s, want %q", server, reply, client, h.reports[client])
		}
	}
	return nil
}

// awaitReports waits until all servers know the reports of all clients.
func (h *herd) awaitReports(t *testing.T) {
	t.Helper()
	for _, server := range h.servers {
		await(t, timeout, func() error { return h.checkReports(server) })
	}
}

// checkProtocol sends each command to every server.
func (h *herd) checkProtocol(t *testing.T) {
	t.Helper()
	for _, server := range h.servers {
		h.report(t, server)
		if reply, err := h.ask(server, "hello"); err != nil || reply != "? hello\n" {
			t.Errorf("hello to %s: %q, %v", server, reply, err)
		}
	}
	h.awaitReports(t)
	for _, server := range h.servers {
		reply, err := h.ask(server, "WHATSAT client-0."+h.servers[0]+" 10 2")
		if err != nil || !strings.Contains(reply, `"status" : "OK"`) || strings.Count(reply, `"place_id"`) != 2 || !strings.HasSuffix(reply, "}\n\n") {
			t.Errorf("WHATSAT to %s: %q, %v", server, reply, err)
		}
	}
}
