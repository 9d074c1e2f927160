package rivals

import (
	"context"
	"fmt"
	"time"

	"herd/cmd/internal/load"
)

// lines is a system that uses the herd's protocol.
type lines struct {
	addresses []string // of its servers, in the order of the topology
	processes []*Process
	stateless bool // it stores nothing: there are no records to check
}

func (l *lines) Processes() []*Process { return l.processes }
func (l *lines) Stop()                 { stop(l.processes) }

// Addresses are the addresses of its servers for clients.
func (l *lines) Addresses() []string { return l.addresses }

func (l *lines) Run(ctx context.Context, w Workload) (Outcome, error) {
	if w.All && len(l.addresses) == 1 {
		return Outcome{}, ErrCannot
	}
	var used time.Duration
	cfg := load.Config{
		Addresses: l.addresses, First: !w.All, Connections: w.Connections, Pipeline: w.Pipeline, Clients: w.Clients, Name: "bench",
		Duration: w.Duration, Count: w.Count, Patience: patience, Settle: patience, Check: 20_000,
	}
	if l.stateless {
		cfg.Settle = 0
	}
	before := CPU(l.processes)
	cfg.Replicated = func() { used = CPU(l.processes) - before }
	report, err := load.Run(ctx, cfg)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Updates: report.Updates, Replicated: report.Replicated(), CPU: used, Latencies: report.Latencies}
	if l.stateless {
		out.Replicated, out.CPU = report.Answered(), CPU(l.processes)-before
	} else if report.Check != nil {
		out.Lost, out.Differing = report.Check.Lost, report.Check.Differing
	}
	if report.Interrupted {
		return out, context.Cause(ctx)
	}
	if err := report.Fault(); err != nil && out.Lost+out.Differing == 0 {
		return out, fmt.Errorf("%w\n%s", err, report.Text())
	}
	return out, nil
}
