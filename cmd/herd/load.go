package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"herd/cmd/internal/load"
)

type loadCommand struct {
	Addresses []string `arg:"" name:"addr" help:"Addresses of the servers, all of which must end with the same records."`

	Duration    time.Duration `default:"10s" help:"End after so long."`
	Count       int           `default:"10000000" help:"End after so many commands, if that comes first."`
	Connections int           `short:"c" default:"8" help:"Connections, over the servers in turn."`
	Pipeline    int           `short:"p" default:"64" help:"Commands in flight on each connection."`
	Clients     int           `default:"10000" help:"Distinct clients, which the servers remember."`
	Rate        float64       `help:"Commands a second over all connections, whether replies come or not (default: as fast as it goes)."`
	First       bool          `help:"Write to the first address only; the others are only looked at."`
	Whatsat     float64       `help:"Percentage of WHATSAT among the commands (default: none)."`
	Name        string        `default:"load" help:"Clients are <name>.0 and on; loads at the same time need names of their own."`
	Settle      time.Duration `default:"10s" help:"How long all servers may take, after the load, to have all records; 0 leaves that out."`
	Check       int           `default:"20000" help:"Records to look at, at every server, after the load."`
	Patience    time.Duration `default:"15s" help:"How long a reply may take."`
	JSON        bool          `name:"json" help:"Print JSON."`
}

// Run puts a load on running servers. Ctrl-C ends it with the figures so far.
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
	if isTerminal(c.Err) {
		cfg.Progress, endProgress = showProgress(c.Err)
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

// showProgress shows progress in one line of a terminal; end clears it.
func showProgress(terminal io.Writer) (show func(load.Progress), end func()) {
	show = func(p load.Progress) {
		fmt.Fprintf(terminal, "\r\x1b[K%.0f s: %d replies, %.0f a second", p.Elapsed.Seconds(), p.Replies, float64(p.Recent)/p.Since.Seconds())
	}
	return show, func() { fmt.Fprint(terminal, "\r\x1b[K") }
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
