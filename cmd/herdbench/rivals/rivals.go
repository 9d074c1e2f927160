// Package rivals contains the systems that cmd/herdbench compares with a herd, the limits
// of the machine, and the herd itself, behind one interface. Each runs as separate
// processes, which its System stops.
//
// asyncio_streams.py, asyncio_protocols.py and node_herd.js are herds as one would write
// them in a week with those runtimes. They have the same protocol, topology and
// last-writer-wins rule, and flood over persistent TCP connections between servers. They
// have no places, no repair and no journal. They are reference points, written to be
// fair: nothing in them is slow on purpose. By default, the runtime decides which writes
// are combined. The "batched" variants send everything from one read in one write, as the
// herd does.
package rivals

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"herd/bus/topology"
	"herd/cmd/internal/load"
)

// Rival is a system to compare.
type Rival interface {
	Name() string
	// Start starts the system, empty, and returns when it accepts updates. An error that
	// is ErrMissing says what is not installed.
	Start(ctx context.Context, lab *Lab) (System, error)
}

// System is a rival that runs.
type System interface {
	// Run runs a workload and waits until all servers have the last update. The error is
	// ErrCannot if the system does not support the workload.
	Run(ctx context.Context, w Workload) (Outcome, error)
	// Processes are all processes of the system.
	Processes() []*Process
	// Stop stops them.
	Stop()
}

var (
	// ErrMissing means that the rival's program is not installed.
	ErrMissing = errors.New("not installed")
	// ErrCannot means that a system does not support a workload.
	ErrCannot = errors.New("workload not supported")
)

// Start starts a rival. It tries again if another program has taken one of the addresses
// in the meantime.
func Start(ctx context.Context, lab *Lab, r Rival) (s System, err error) {
	const tries = 3
	for range tries {
		s, err = r.Start(ctx, lab)
		if err == nil || !taken.MatchString(err.Error()) {
			break
		}
	}
	return s, err
}

// taken matches what processes print about such an address.
var taken = regexp.MustCompile(`(?i)address already in use|EADDRINUSE`)

// Workload is a workload, run as fast as possible. It ends after Duration or Count,
// whichever is first.
type Workload struct {
	Connections int
	Pipeline    int  // commands in flight on each connection
	All         bool // to all five servers, not only to the first
	Clients     int
	Duration    time.Duration
	Count       int // updates
}

// Outcome is the result of a workload.
type Outcome struct {
	Updates    int
	Replicated float64       // updates per second, until all servers had the last
	CPU        time.Duration // of all processes of the system, until then
	Latencies  load.Histogram
	Lost       int
	Differing  int
}

// CPUPerUpdate is the processor time per update in microseconds.
func (o Outcome) CPUPerUpdate() float64 {
	if o.Updates == 0 {
		return 0
	}
	return float64(o.CPU.Nanoseconds()) / 1e3 / float64(o.Updates)
}

// Lab is the environment of rivals: a directory, and the programs built for them.
type Lab struct {
	Dir   string
	Graph *topology.Graph
	Herd  string // program
	NATS  string // program: a stock nats-server
	Self  string // this program, which runs some rivals as children
}

// NewLab builds the programs that rivals need. The caller removes the directory. The
// working directory must be in the module.
func NewLab(ctx context.Context, dir string) (*Lab, error) {
	graph, err := topology.Load("goloman")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, Graph: graph, Self: self, Herd: filepath.Join(dir, "herd"), NATS: filepath.Join(dir, "nats-server")}
	for program, source := range map[string]string{l.Herd: "herd/cmd/herd", l.NATS: "github.com/nats-io/nats-server/v2"} {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, source).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", source, err, out)
		}
	}
	return l, nil
}

// EchoName is the name of the limit M.
const EchoName = "echo (M)"

const (
	busName  = "bare bus"
	herdName = "herd"

	loggedName = herdName + " logged"
)

// IsLimit reports whether a rival is a limit of the machine and not a usable system.
func IsLimit(name string) bool { return name == EchoName || name == busName }

// IsOwn reports whether a rival is a way to run the herd.
func IsOwn(name string) bool { return strings.HasPrefix(name, herdName) }

// OnRequest reports whether a rival is compared only if --only names it, because it needs
// much disk space.
func OnRequest(name string) bool { return name == loggedName }

// All lists the rivals, the limits of the machine first.
func All() []Rival {
	return []Rival{
		echoRival{},
		busRival{},
		Serve(herdName, ""),
		Up(herdName+" up", ""),
		Serve(herdName+" ack", "ack"),
		Serve(herdName+" sync", "sync"),
		Logged(loggedName),
		script{name: "asyncio streams", runtime: "python3", source: "asyncio_streams.py"},
		script{name: "asyncio protocols", runtime: "python3", source: "asyncio_protocols.py"},
		script{name: "asyncio batched", runtime: "python3", source: "asyncio_protocols.py", batched: true},
		script{name: "node.js", runtime: "node", source: "node_herd.js"},
		script{name: "node.js batched", runtime: "node", source: "node_herd.js", batched: true},
		redis,
		tile38,
	}
}
