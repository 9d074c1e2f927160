package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"herd/bus"
	"herd/bus/plural"
	"herd/cmd/internal/logwriter"
)

type upCommand struct{}

// Run runs all servers of the herd, with an embedded NATS server unless HERD_NATS_URL
// is set.
func (upCommand) Run(ctx context.Context, c console) error {
	hangups := catchHangups()
	s, err := loadSettings(enoughPorts, makeDirectories, opsSeedDirectory, func(c *checker, s settings) {
		var users []string
		if s.graph != nil && len(s.natsURLs) > 0 {
			users = s.graph.Servers()
		}
		c.hasSeeds(s, users...)
	})
	if err != nil {
		return err
	}
	embeds := len(s.natsURLs) == 0
	listen := ports{ops: s.opsAddress(0)}
	for i, name := range s.graph.Servers() {
		listen.clients = append(listen.clients, serverPort{name, s.clientAddress(i)})
	}
	if embeds {
		listen.nats = s.natsListen
	}
	if c.terminal != nil && os.Getenv("HERD_LOG_LEVEL") == "" {
		s.logLevel = slog.LevelWarn
	}
	p, err := newProcess(s, c, hangups, listen)
	if err != nil {
		return err
	}
	showLog := func() {}
	if c.terminal != nil { // the banner comes first
		showLog = c.log.Hold(0)
		defer showLog()
	}
	if s.name != "" {
		p.log.Warn("HERD_NAME is ignored: up runs all servers", "HERD_NAME", s.name)
	}
	if embeds {
		for _, name := range []string{"HERD_NATS_SEED", "HERD_NATS_CREDS", "HERD_NATS_CA", "HERD_NATS_CERT", "HERD_NATS_KEY"} {
			if os.Getenv(name) != "" {
				p.log.Warn("a variable for NATS is ignored: up starts a NATS server of its own unless HERD_NATS_URL is set", "variable", name)
			}
		}
	}
	p.runsAll = true
	urls := s.natsURLs
	if embeds {
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
		// Both outputs may be the same pipe: no line of the log may come within the banner.
		release := c.log.Hold(logFlush / 10)
		banner.Write([]byte(p.banner(urls)))
		banner.Flush(logFlush)
		release()
		showLog()
	})
}

// banner is the addresses of the servers, and commands to try. It is printed when the herd
// is ready, or does not get ready within a second.
func (p *process) banner(urls []string) string {
	var b strings.Builder
	g := p.settings.graph
	if p.hasPage() {
		fmt.Fprintf(&b, "See the herd at %s\n", pageAddress(p.ops.Addr()))
	}
	fmt.Fprintf(&b, "herd %s on bus %s\n\n", p.settings.topology, bus.RedactURLs(urls))
	rows := [][]string{{"SERVER", "CLIENTS", "NEIGHBOURS"}}
	for _, s := range p.servers {
		rows = append(rows, []string{s.name, s.clients.Addr().String(), strings.Join(g.Neighbours(s.name), " ")})
	}
	b.WriteString(formatTable(rows, 0) + "\n")
	if len(p.servers) == 1 {
		fmt.Fprintf(&b, "A herd of one server: the topology %s is a single name, without edges.\n", p.settings.topology)
	}
	if p.ops != nil {
		fmt.Fprintf(&b, "For operators: http://%s/readyz and /metrics\n", dialable(p.ops.Addr().String()))
	}
	b.WriteString(p.notReady())
	b.WriteString(p.opsCommand())
	if t := p.settings.clientTLS; len(p.settings.proxies) == 0 && (t == nil || t.authorityFile == "") {
		fmt.Fprintf(&b, "\nTry:\n\n%s\n", p.exampleCommands())
	}
	b.WriteString("Ctrl-C stops the herd.\n\n")
	return b.String()
}

// notReady is a line that says why servers are not ready; "" if all are.
func (p *process) notReady() string {
	var first error
	others := 0
	for _, s := range p.servers {
		switch err := s.Ready(); {
		case err == nil:
		case first == nil:
			first = err
		default:
			others++
		}
	}
	if first == nil {
		return ""
	}
	line := fmt.Sprintf("Not ready yet: %v", first)
	if errors.Is(first, bus.ErrDenied) && p.embedded == nil && !p.settings.authenticates() {
		line += "; no key is set: see HERD_NATS_SEED"
	}
	if others > 0 {
		line += fmt.Sprintf(" (nor %s %s)", plural.Form(others, "is", "are"), plural.Count(others, "other server"))
	}
	return line + "\n"
}

// opsCommand is a shell command that uses the operators' key of the embedded NATS server;
// "" if there is none.
func (p *process) opsCommand() string {
	if p.embedded == nil || p.embedded.ops.path == "" {
		return ""
	}
	words, err := p.settings.shellVariables()
	if err != nil { // there is no working directory
		words = nil
	}
	if url := p.embedded.URL(); url != defaultNATS {
		words = append(words, "HERD_NATS_URL="+shellWord(url))
	}
	if len(words) > 0 {
		words = append(words, "\\\n   ")
	}
	words = append(words, "HERD_NATS_SEED="+shellWord(p.embedded.ops.path), invocation(os.Args[0]), "reload")
	return fmt.Sprintf("\nWithout a key, tools can read the bus and send requests that change nothing.\nFor the others there is a key, until the herd stops:\n\n  %s\n", strings.Join(words, " "))
}

// exampleCommands are shell commands that report a client's location and ask for two places
// near it.
func (p *process) exampleCommands() string {
	ask := invocation(os.Args[0]) + " ask"
	if t := p.settings.clientTLS; t != nil {
		ask += " --ca " + shellWord(t.certFile) // its own certificate is as good as its CA's
	}
	if address := dialable(p.servers[0].clients.Addr().String()); address != defaultAddress(clientPort, 0) {
		ask += " " + shellWord(address)
	}
	return fmt.Sprintf("  %s \"IAMAT kiwi +34.07-118.45 $(date +%%s)\"\n  %s 'WHATSAT kiwi 10 2'\n", ask, ask)
}
