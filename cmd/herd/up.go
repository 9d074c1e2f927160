package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"

	"herd/bus"
	"herd/cmd/internal/logwriter"
)

type upCommand struct{}

// Run runs all servers of the herd, with an embedded NATS server unless HERD_NATS_URL
// is set.
func (upCommand) Run(ctx context.Context, c console) error {
	hangups := survive()
	s, err := loadSettings(enoughPorts, makeDirectories, func(c *checker, s settings) {
		if s.graph != nil && len(s.natsURLs) > 0 {
			c.hasSeeds(s, s.graph.Servers()...)
		}
	})
	if err != nil {
		return err
	}
	names := s.graph.Servers()
	addresses := make([]string, len(names))
	for i := range names {
		addresses[i] = s.clientAddress(i)
	}
	p, err := newProcess(s, c, hangups, names, addresses, s.opsAddress(0))
	if err != nil {
		return err
	}
	p.whole = true
	urls := s.natsURLs
	if len(urls) == 0 {
		if err := p.embedBus(); err != nil {
			p.closeListeners()
			return err
		}
		defer p.embedded.Shutdown()
		urls = []string{p.embedded.URL()}
	}
	p.warnPublic()
	banner := logwriter.New(c.Out, linesLost) // standard output may be a pipe that nobody reads
	defer banner.Flush(logFlush)
	return p.run(ctx, urls, func() {
		c.log.Flush(logFlush / 10)
		p.printBanner(banner, urls)
	})
}

// printBanner prints the addresses of the servers, and a command to try. It is called
// when the herd is ready, so that it follows the log of the start.
func (p *process) printBanner(out io.Writer, urls []string) {
	g := p.settings.graph
	fmt.Fprintf(out, "\nherd %s on bus %s\n\n", p.settings.topology, bus.RedactURLs(urls))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tCLIENTS\tNEIGHBOURS")
	for _, s := range p.servers {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.name, s.clients.Addr(), strings.Join(g.Neighbours(s.name), " "))
	}
	w.Flush()
	if p.ops != nil {
		fmt.Fprintf(out, "\nFor operators: http://%s/readyz\n", p.ops.Addr())
	}
	if p.settings.clientTLS == nil && len(p.settings.proxies) == 0 {
		fmt.Fprintf(out, "\nTry:\n\n%s\n\n", tryLine(p.servers[0].clients.Addr()))
	}
}

// tryLine is a shell command that reports a client's location and asks for two places
// near it. The flag -w makes every implementation of nc exit.
func tryLine(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return fmt.Sprintf(`printf 'IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 %%s\nWHATSAT kiwi.cs.ucla.edu 10 2\n' "$(date +%%s)" | nc -w 2 %s %s`, host, port)
}
