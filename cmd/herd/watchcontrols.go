package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"herd/node/wire"
)

// controls changes the herd of the process at the request of its page: watch.Controls.
type controls struct {
	process *process
}

// reportTimeout is how long a server may take to reply to a report.
const reportTimeout = 5 * time.Second

// find returns a server of the process.
func (c controls) find(name string) (*server, error) {
	for _, s := range c.process.servers {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no server %.80q", name)
}

// CanReport implements watch.Controls: the ports of clients need neither TLS nor the header of a proxy from this host.
func (c controls) CanReport() bool {
	s := c.process.settings
	return s.clientTLS == nil && !slices.ContainsFunc(c.process.servers, func(one *server) bool {
		host, _ := splitPort(dialable(one.clients.Addr().String())) // where the report comes from, too
		ip, err := netip.ParseAddr(host)
		return err == nil && slices.ContainsFunc(s.proxies, func(network netip.Prefix) bool { return network.Contains(ip.Unmap()) })
	})
}

// Report implements watch.Controls: over TCP, as a client does.
func (c controls) Report(ctx context.Context, server, client string, lat, lon float64) (reply string, err error) {
	s, err := c.find(server)
	if err != nil {
		return "", err
	}
	if !c.CanReport() {
		return "", errors.New("the ports of clients need TLS or a proxy: use herd ask")
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", dialable(s.clients.Addr().String()))
	if err != nil {
		return "", fmt.Errorf("%s cannot be reached: %w", server, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintf(conn, "IAMAT %s %+.6f%+.6f %s\n", client, lat, lon, wire.InstantOf(time.Now())); err != nil {
		return "", fmt.Errorf("%s has not taken the report: %w", server, err)
	}
	reply, err = bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s has not replied: %w", server, err)
	}
	return strings.TrimSuffix(reply, "\n"), nil
}

// Cut implements watch.Controls.
func (c controls) Cut(a, b string) error {
	if !c.process.graph.Load().Adjacent(a, b) {
		return fmt.Errorf("no edge joins %.80q and %.80q", a, b)
	}
	c.process.cuts.set(a, b, true)
	c.process.log.Info("the page cuts an edge", "edge", a+"-"+b)
	return nil
}

// Heal implements watch.Controls.
func (c controls) Heal(a, b string) error {
	if !c.IsCut(a, b) {
		return fmt.Errorf("the edge between %.80q and %.80q is not cut", a, b)
	}
	c.process.cuts.set(a, b, false)
	c.process.log.Info("the page heals an edge", "edge", a+"-"+b)
	return nil
}

// Stop implements watch.Controls.
func (c controls) Stop(ctx context.Context, server string) error {
	s, err := c.find(server)
	if err != nil {
		return err
	}
	return s.Stop(ctx)
}

// Start implements watch.Controls. A reload waits meanwhile: the server must begin with the present topology.
func (c controls) Start(ctx context.Context, server string) error {
	s, err := c.find(server)
	if err != nil {
		return err
	}
	c.process.reloading.Lock()
	defer c.process.reloading.Unlock()
	return s.Start(ctx)
}

// IsCut implements watch.Controls.
func (c controls) IsCut(a, b string) bool { return c.process.cuts.has(a, b) }

// IsStopped implements watch.Controls.
func (c controls) IsStopped(server string) bool {
	s, err := c.find(server)
	return err == nil && s.IsStopped()
}
