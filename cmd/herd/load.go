package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"herd/cmd/internal/load"
)

type loadCommand struct {
	Addresses []string `arg:"" name:"addr" help:"Addresses of servers of one herd, which must all hold the same records after the load."`

	Duration    time.Duration `default:"10s" help:"Stop after this time."`
	Count       int           `default:"10000000" help:"Stop after this number of commands, if that comes first."`
	Connections int           `short:"c" default:"8" help:"Connections, distributed over the servers."`
	Pipeline    int           `short:"p" default:"64" help:"Commands in flight per connection."`
	Clients     int           `default:"10000" help:"Distinct clients. The servers keep their records."`
	Rate        float64       `help:"Commands per second over all connections, independent of replies (default: as fast as possible)."`
	First       bool          `help:"Send commands to the first address only; use the others for the check."`
	Whatsat     float64       `help:"Percentage of WHATSAT among the commands (default: 0)."`
	Name        string        `default:"load" help:"Prefix of client names: <name>.0 and so on. Concurrent loads need different names."`
	Settle      time.Duration `default:"10s" help:"Maximum time, after the load, until all servers hold all records; 0 skips this check."`
	Check       int           `default:"20000" help:"Records to check at every server after the load."`
	Patience    time.Duration `default:"15s" help:"Maximum time to wait for a reply."`
	JSON        bool          `name:"json" help:"Print JSON."`
}

// Run runs a load against running servers. Ctrl-C ends it with the figures so far.
func (l loadCommand) Run(ctx context.Context, c console) error {
	cfg := load.Config{
		Addresses: l.Addresses, First: l.First, Connections: l.Connections, Pipeline: l.Pipeline, Clients: l.Clients,
		Name: l.Name, Asks: l.Whatsat / 100, Rate: l.Rate, Duration: l.Duration, Count: l.Count,
		Patience: l.Patience, Settle: l.Settle, Check: l.Check,
	}
	if err := cfg.Validate(); err != nil {
		return usageError{fmt.Errorf("load: %w", err)}
	}
	endProgress := func() {}
	if c.terminal != nil {
		cfg.Progress, endProgress = showProgress(c.terminal)
	}
	report, err := load.Run(ctx, cfg)
	endProgress()
	if err != nil {
		return fmt.Errorf("load: %w", err)
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
	if err := report.Fault(); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// showProgress shows progress on one line of a terminal; end clears the line.
func showProgress(terminal io.Writer) (show func(load.Progress), end func()) {
	show = func(p load.Progress) {
		fmt.Fprintf(terminal, "\r\x1b[K%.0f s: %d replies, %.0f per second", p.Elapsed.Seconds(), p.Replies, float64(p.Recent)/p.Since.Seconds())
	}
	return show, func() { fmt.Fprint(terminal, "\r\x1b[K") }
}
