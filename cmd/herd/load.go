package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"herd/cmd/internal/load"
	"herd/cmd/internal/plot"
)

type loadCommand struct {
	Addresses []string `arg:"" optional:"" name:"server" predictor:"server" help:"Servers of the topology, or addresses HOST:PORT of servers of one herd, which must all hold the same records after the load (default: where herd up, or herd serve, listens with this environment)."`

	Duration    time.Duration `default:"10s" help:"Stop after this time."`
	Count       int           `default:"10000000" help:"Stop after this number of commands, if that comes first."`
	Connections int           `short:"c" default:"8" help:"Connections, distributed over the servers."`
	Pipeline    int           `short:"p" default:"64" help:"Commands in flight per connection."`
	Clients     int           `default:"10000" help:"Distinct clients. The servers keep their records."`
	Rate        float64       `placeholder:"N" help:"Commands per second over all connections, independent of replies (default: as fast as possible)."`
	First       bool          `help:"Send commands to the first address only; use the others for the check."`
	Whatsat     float64       `placeholder:"PERCENT" help:"Percentage of WHATSAT among the commands (default: 0)."`
	Name        string        `default:"load" help:"Prefix of client names: <name>.0 and so on. Concurrent loads need different names."`
	Settle      time.Duration `default:"10s" help:"Maximum time, after the load, until all servers hold all records; 0 skips this check."`
	Check       int           `default:"20000" help:"Records to check at every server after the load."`
	Patience    time.Duration `default:"15s" help:"Maximum time to wait for a reply."`
	Plot        string        `placeholder:"FILE.svg" type:"path" help:"Draw the latencies and the rate over time, as SVG."`
	JSON        bool          `name:"json" help:"Print JSON."`
	tlsFlags
}

// Run runs a load against running servers. Ctrl-C ends it with the figures so far.
func (l loadCommand) Run(ctx context.Context, c console) error {
	cfg, encrypted, err := l.config()
	if err != nil {
		return err
	}
	endProgress := func() {}
	if c.terminal != nil {
		cfg.Progress, endProgress = l.showProgress(c.terminal)
	}
	report, err := load.Run(ctx, cfg)
	endProgress()
	if err != nil {
		return fmt.Errorf("load: %w", l.hint(err))
	}
	if l.JSON {
		encoder := json.NewEncoder(c.Out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(&report); err != nil {
			return err
		}
	} else if _, err := fmt.Fprint(c.Out, report.Text()); err != nil {
		return err
	}
	var failed error
	if l.Plot != "" {
		if err := os.WriteFile(l.Plot, plotLoad(&report), 0o644); err != nil {
			failed = fmt.Errorf("load: --plot: %w", err)
		}
	}
	fault := report.Fault()
	if fault != nil {
		fault = fmt.Errorf("load: %w", fault)
		if report.Replies == 0 && !report.Interrupted {
			hint := "are these the client ports of servers? if they use TLS, add --tls or --ca FILE"
			if encrypted {
				hint = "are these the client ports of servers?"
			}
			fault = fmt.Errorf("%w (%s)", fault, hint)
		}
	}
	return errors.Join(fault, failed)
}

// config checks the command line and returns the load that it describes, and whether its
// connections use TLS. The error has all faults.
func (l loadCommand) config() (cfg load.Config, encrypted bool, err error) {
	addresses, err := l.addresses()
	if err != nil {
		addresses = []string{defaultAddress(clientPort, 0)} // for the checks of the others
	}
	cfg = load.Config{
		Addresses: addresses, First: l.First, Connections: l.Connections, Pipeline: l.Pipeline, Clients: l.Clients,
		Name: l.Name, Asks: l.Whatsat / 100, Rate: l.Rate, Duration: l.Duration, Count: l.Count,
		Patience: l.Patience, Settle: l.Settle, Check: l.Check,
	}
	c := checker{faults: unjoin(err)}
	var fault *load.Fault
	for _, one := range unjoin(cfg.Validate()) {
		switch {
		case !errors.As(one, &fault):
			c.fault("load", "%w", one)
		case fault.Field == "asks":
			c.fault("--whatsat", "%v is not a percentage from 0 to 100", l.Whatsat)
		default:
			c.fault("--"+fault.Field, "%s", fault.Reason)
		}
	}
	if err := canCreate(l.Plot); err != nil {
		c.fault("--plot", "%w", err)
	}
	config, err := l.tlsFlags.config()
	for _, one := range unjoin(err) {
		c.fault("load", "%w", one)
	}
	if config != nil {
		cfg.Dial = func(ctx context.Context, address string) (load.Conn, error) {
			return dialClient(ctx, address, config, l.Patience)
		}
	}
	return cfg, config != nil, usageOf(c.faults)
}

// addresses is where the servers listen: the arguments, or all servers of the topology.
func (l loadCommand) addresses() (all []string, err error) {
	for _, server := range l.Addresses {
		address, err := askAddress("load", server, func(c *checker, _ settings) {
			c.fault("load", "give servers, or their addresses such as 127.0.0.1:12000")
		})
		if err != nil {
			return nil, err
		}
		all = append(all, address)
	}
	if len(all) > 0 {
		return all, nil
	}
	s, err := loadSettings(enoughPorts)
	if err != nil {
		return nil, err
	}
	for _, name := range s.graph.Servers() {
		address, err := s.serverAddress(name)
		if err != nil {
			return nil, err
		}
		all = append(all, address)
	}
	return all, nil
}

// hint says what to do if no server listens at an address.
func (l loadCommand) hint(err error) error {
	switch {
	case !errors.Is(err, syscall.ECONNREFUSED):
		return tlsHint(err)
	case len(l.Addresses) == 0:
		return fmt.Errorf("%w (no server listens there: start the herd with herd up, or give the servers' addresses)", err)
	}
	return fmt.Errorf("%w (no server listens there: is it running?)", err)
}

// canCreate checks that a file can probably be created, before the work whose result it gets;
// "" is valid. It creates nothing.
func canCreate(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return nil
}

// showProgress shows progress on one line of a terminal; end clears the line.
func (l loadCommand) showProgress(terminal io.Writer) (show func(load.Progress), end func()) {
	show = func(p load.Progress) {
		done := max(p.Elapsed.Seconds()/l.Duration.Seconds(), float64(p.Replies)/float64(l.Count))
		fmt.Fprintf(terminal, "\r\x1b[K%s %.0f s, %s replies, %s per second", progressBar(done), p.Elapsed.Seconds(),
			plot.Number(float64(p.Replies)), plot.Number(math.Round(float64(p.Recent)/p.Since.Seconds())))
	}
	return show, func() { fmt.Fprint(terminal, "\r\x1b[K") }
}

// progressBar is a bar that shows which part is done, from 0 to 1.
func progressBar(done float64) string {
	const width = 24
	filled := int(min(1, max(0, done)) * width)
	return "[" + strings.Repeat("#", filled) + strings.Repeat("-", width-filled) + "]"
}
