// Command herdbench compares a herd with what one would use in its place, and with
// the limits of the machine, all in one interleaved run:
//
//	go run ./cmd/herdbench
//
// It also compares two builds of herd with each other:
//
//	go run ./cmd/herdbench --sections builds --old PROGRAM --new PROGRAM --rounds 7
//
// It builds and starts whatever it compares, and ends it again, also on Ctrl-C.
// It prints Markdown; --json and --svg write files. Everything but the comparison
// is a section of its own: --sections says which to run.
package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"herd/cmd/herdbench/rivals"
)

func main() {
	rivals.RunChild()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, release) // so that a second signal ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	Sections []string      `default:"comparison,latency" enum:"comparison,latency,memory,restart,scale,builds" help:"What to measure: comparison, latency, memory, restart, scale, builds."`
	Only     []string      `help:"Rivals to compare, by name (default: all that are installed, but for herd logged, which writes gigabytes)."`
	List     bool          `help:"List the rivals and end."`
	Rounds   int           `default:"5" help:"Rounds, of which medians are taken."`
	Duration time.Duration `default:"2s" help:"Time for each workload of the comparison, at most."`
	Count    int           `default:"2000000" help:"Updates for each workload of the comparison, at most."`
	Clients  int           `default:"10000" help:"Distinct clients."`
	Samples  int           `default:"200" help:"Lone updates each way in each round, for latency."`
	Records  int           `default:"1000000" help:"Records, for memory, restart and builds."`
	Idle     int           `default:"15000" help:"Idle connections, for memory and builds."`
	Old      string        `placeholder:"PROGRAM" help:"For builds: a herd program to compare with."`
	New      string        `placeholder:"PROGRAM" help:"For builds: the program to compare (default: built from this directory)."`
	OldEnv   []string      `placeholder:"NAME=VALUE" help:"For builds: environment of the old program, in addition."`
	NewEnv   []string      `placeholder:"NAME=VALUE" help:"For builds: environment of the new program, in addition."`
	Figures  []string      `default:"p64,p1,alone,large,record,idle,restart" enum:"p64,p1,alone,large,record,idle,restart" help:"For builds, what to measure: p64, p1 (all five servers, too), alone, large, record, idle, restart."`
	Journal  string        `default:"" enum:",ack,sync" help:"For builds: HERD_JOURNAL of both programs, ack or sync (default: none)."`
	JSON     string        `name:"json" placeholder:"FILE" help:"Write all figures there."`
	SVG      string        `name:"svg" placeholder:"FILE" help:"Write a plot of the comparison there."`
}

func (o options) validate() error {
	var faults []error
	within := func(what string, n, least, most int) {
		if n < least || n > most {
			faults = append(faults, fmt.Errorf("--%s: %d is not from %d to %d", what, n, least, most))
		}
	}
	within("rounds", o.Rounds, 1, 1000)
	within("count", o.Count, 1000, 1_000_000_000)
	within("clients", o.Clients, 100, 5_000_000)
	within("samples", o.Samples, 1, 1_000_000)
	within("records", o.Records, 1000, 5_000_000)
	within("idle", o.Idle, 10, 50_000)
	if o.Duration < 10*time.Millisecond || o.Duration > time.Hour {
		faults = append(faults, fmt.Errorf("--duration: %v is not from 10ms to 1h", o.Duration))
	}
	if slices.Contains(o.Sections, "builds") && o.Old == "" {
		faults = append(faults, errors.New("--sections builds needs --old"))
	}
	for _, pair := range slices.Concat(o.OldEnv, o.NewEnv) {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" {
			faults = append(faults, fmt.Errorf("%q is not NAME=VALUE", pair))
		}
	}
	for _, name := range o.Only {
		if !slices.ContainsFunc(rivals.All(), func(r rivals.Rival) bool { return r.Name() == name }) {
			faults = append(faults, fmt.Errorf("--only: %q is no rival: --list has them", name))
		}
	}
	return errors.Join(faults...)
}

// bench is one run of the program.
type bench struct {
	options
	lab  *rivals.Lab
	out  io.Writer // Markdown
	note io.Writer // what is going on
}

// Results is everything that was measured, as --json writes it.
type Results struct {
	Machine    Machine           `json:"machine"`
	Command    string            `json:"command"`
	Comparison *Comparison       `json:"comparison,omitempty"`
	Latency    *LatencyResults   `json:"latency,omitempty"`
	Memory     *MemoryResults    `json:"memory,omitempty"`
	Restart    *RestartResults   `json:"restart,omitempty"`
	Scale      *ScaleResults     `json:"scale,omitempty"`
	Builds     *BuildResults     `json:"builds,omitempty"`
	Skipped    map[string]string `json:"skipped,omitempty"` // rivals, and what they lack
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	var helped bool
	parser := kong.Must(&o, kong.Name("herdbench"), kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("Compare a herd with its rivals and with the machine's limits."))
	_, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err == nil {
		err = o.validate()
	}
	if err != nil {
		fmt.Fprintf(stderr, "herdbench: %v (--help says more)\n", err)
		return 2
	}
	if o.List {
		for _, r := range rivals.All() {
			fmt.Fprintln(stdout, r.Name())
		}
		return 0
	}
	b := &bench{options: o, out: stdout, note: stderr}
	switch err := b.run(ctx, args); {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "herdbench: interrupted")
		return 1
	case err != nil:
		fmt.Fprintln(stderr, "herdbench:", err)
		return 1
	}
	return 0
}

// run measures what is wanted. What was measured before an error is printed and
// written all the same.
func (b *bench) run(ctx context.Context, args []string) (err error) {
	dir, err := os.MkdirTemp("", "herdbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.say("building")
	if b.lab, err = rivals.NewLab(ctx, dir); err != nil {
		return err
	}
	results := Results{Machine: thisMachine(b.lab.NATS), Command: strings.Join(append([]string{"go run ./cmd/herdbench"}, args...), " ")}
	fmt.Fprintf(b.out, "%s\n\n`%s`\n", results.Machine, results.Command)
	for _, section := range b.Sections {
		var one error
		switch section {
		case "comparison":
			results.Comparison, one = b.compare(ctx, &results)
		case "latency":
			results.Latency, one = b.latency(ctx)
		case "memory":
			results.Memory, one = b.memory(ctx)
		case "restart":
			results.Restart, one = b.restart(ctx)
		case "scale":
			results.Scale, one = b.scale(ctx)
		case "builds":
			results.Builds, one = b.compareBuilds(ctx)
		}
		if one != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", section, one))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if b.JSON != "" {
		text, fault := json.MarshalIndent(results, "", "  ")
		if fault == nil {
			fault = os.WriteFile(b.JSON, append(text, '\n'), 0o644)
		}
		err = errors.Join(err, fault)
	}
	if b.SVG != "" && results.Comparison != nil {
		err = errors.Join(err, os.WriteFile(b.SVG, results.Comparison.plot(), 0o644))
	}
	return err
}

// say tells what is going on.
func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.note, format+"\n", args...) }

// Machine is where the figures are from.
type Machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  string `json:"memory"`
	System  string `json:"system"`
	Go      string `json:"go"`
	NATS    string `json:"nats_server"`
	Started string `json:"started"`
}

func thisMachine(natsServer string) Machine {
	m := Machine{CPU: procField("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: procField("/proc/meminfo", "MemTotal"),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), NATS: "unknown", Started: time.Now().UTC().Format(time.DateOnly)}
	if info, err := buildinfo.ReadFile(natsServer); err == nil {
		m.NATS = info.Main.Version
	}
	return m
}

// procField is the first value of a name in a file of `name: value` lines.
func procField(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func (m Machine) String() string {
	return fmt.Sprintf("%d cores of %s, %s of memory, %s, %s, nats-server %s, %s", m.Cores, m.CPU, m.Memory, m.System, m.Go, m.NATS, m.Started)
}
