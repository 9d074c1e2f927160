// Command herdbench compares a herd with alternatives and with the limits of the machine,
// in one interleaved run:
//
//	go run ./cmd/herdbench
//
// It also compares two builds of herd with each other:
//
//	go run ./cmd/herdbench --sections builds --old PROGRAM --new PROGRAM --rounds 7
//
// Or it shows what a well-behaved client sees beside each attack on its server:
//
//	go run ./cmd/herdbench --sections hostile
//
// Or what followers cost, how soon they know, and how fast a map is dumped:
//
//	go run ./cmd/herdbench --sections follow
//
// It builds, starts and stops everything that it compares; Ctrl-C stops it, too. It prints
// Markdown; --json and --svg write files. --sections selects what to measure.
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
	context.AfterFunc(ctx, release) // a second signal kills the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	Sections []string      `default:"comparison,latency" enum:"comparison,latency,memory,restart,scale,near,builds,hostile,follow,expiry" help:"What to measure: comparison, latency, memory, restart, scale, near, builds, hostile, follow, expiry."`
	Only     []string      `help:"Rivals to compare, by name (default: all that are installed, except herd logged, which writes gigabytes)."`
	List     bool          `help:"List the rivals and exit."`
	Rounds   int           `default:"5" help:"Rounds. Figures are medians over the rounds."`
	Duration time.Duration `default:"2s" help:"Maximum time for each workload."`
	Count    int           `default:"2000000" help:"Maximum number of updates for each workload."`
	Clients  int           `default:"10000" help:"Distinct clients."`
	Samples  int           `default:"200" help:"For latency and follow: lone updates on each path in each round."`
	Records  int           `default:"1000000" help:"For memory, restart, near, builds, follow and expiry: number of records."`
	Idle     int           `default:"15000" help:"For memory and builds: number of idle connections."`
	Attacks  []string      `help:"For hostile: attacks, by name (default: all)."`
	Old      string        `placeholder:"PROGRAM" help:"For builds and hostile: a herd program to compare with."`
	New      string        `placeholder:"PROGRAM" help:"For builds and hostile: the program to compare (default: built from this directory)."`
	OldEnv   []string      `placeholder:"NAME=VALUE" help:"For builds: environment of the old program, in addition."`
	NewEnv   []string      `placeholder:"NAME=VALUE" help:"For builds: environment of the new program, in addition."`
	Figures  []string      `default:"p64,p1,alone,large,record,idle,restart" enum:"p64,p1,alone,large,record,idle,restart" help:"For builds, what to measure: p64, p1 (all five servers, too), alone, large, record, idle, restart."`
	Journal  string        `default:"" enum:",ack,sync" help:"For builds: HERD_JOURNAL of both programs, ack or sync (default: none)."`
	JSON     string        `name:"json" placeholder:"FILE" help:"Write all figures to a file."`
	SVG      string        `name:"svg" placeholder:"FILE" help:"Write a plot of the comparison to a file."`
}

func (o options) validate() error {
	var faults []error
	within := func(what string, n, least, most int) {
		if n < least || n > most {
			faults = append(faults, fmt.Errorf("--%s: %d is not between %d and %d", what, n, least, most))
		}
	}
	within("rounds", o.Rounds, 1, 1000)
	within("count", o.Count, 1000, 1_000_000_000)
	within("clients", o.Clients, 100, 5_000_000)
	within("samples", o.Samples, 1, 1_000_000)
	within("records", o.Records, 1000, 5_000_000)
	within("idle", o.Idle, 10, 50_000)
	if o.Duration < 10*time.Millisecond || o.Duration > time.Hour {
		faults = append(faults, fmt.Errorf("--duration: %v is not between 10ms and 1h", o.Duration))
	}
	if runtime.GOOS != "linux" && !o.List {
		faults = append(faults, errors.New("herdbench runs on Linux only: it reads processor time and memory from /proc"))
	}
	if slices.Contains(o.Sections, "builds") && o.Old == "" {
		faults = append(faults, errors.New("--sections builds needs --old"))
	}
	for _, name := range o.Attacks {
		if !slices.ContainsFunc(hostileAttacks, func(a attack) bool { return a.name == name }) {
			faults = append(faults, fmt.Errorf("--attacks: %q is not an attack", name))
		}
	}
	for _, pair := range slices.Concat(o.OldEnv, o.NewEnv) {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" {
			faults = append(faults, fmt.Errorf("%q is not NAME=VALUE", pair))
		}
	}
	for _, name := range o.Only {
		if !slices.ContainsFunc(rivals.All(), func(r rivals.Rival) bool { return r.Name() == name }) {
			faults = append(faults, fmt.Errorf("--only: %q is not a rival; see --list", name))
		}
	}
	return errors.Join(faults...)
}

// bench is one run of the program.
type bench struct {
	options
	lab  *rivals.Lab
	out  io.Writer // Markdown
	note io.Writer // progress
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
	Near       *NearResults      `json:"near,omitempty"`
	Builds     *BuildResults     `json:"builds,omitempty"`
	Hostile    *HostileResults   `json:"hostile,omitempty"`
	Follow     *FollowResults    `json:"follow,omitempty"`
	Expiry     *ExpiryResults    `json:"expiry,omitempty"`
	Skipped    map[string]string `json:"skipped,omitempty"` // rivals, and what is missing for them
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	var helped bool
	parser := kong.Must(&o, kong.Name("herdbench"), kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }),
		kong.Description("Compare a herd with alternatives and with the limits of the machine. Linux only."))
	_, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err == nil {
		err = o.validate()
	}
	if err != nil {
		fmt.Fprintf(stderr, "herdbench: %v (see --help)\n", err)
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

// run measures the sections. After an error, the figures measured before it are printed
// and written all the same.
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
		case "near":
			results.Near, one = b.near(ctx)
		case "builds":
			results.Builds, one = b.compareBuilds(ctx)
		case "hostile":
			results.Hostile, one = b.hostile(ctx)
		case "follow":
			results.Follow, one = b.follow(ctx)
		case "expiry":
			results.Expiry, one = b.expiry(ctx)
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

// say reports progress.
func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.note, format+"\n", args...) }

// Machine describes where the figures were measured.
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

// procField is the first value of a name in a file with lines `name: value`.
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
