// Package rivals has the systems that cmd/herdbench compares with a herd, the
// limits of the machine, and the herd itself, behind one interface. Each runs as
// processes of its own that its System ends.
//
// asyncio_streams.py, asyncio_protocols.py and node_herd.js are herds as one would
// write them in a week with those runtimes: the same protocol, topology and rule
// of which report wins, flooding over TCP connections between servers that last;
// no places, no repair, no journal. They are reference points, written to be
// fair: nothing in them is slow on purpose. As they are, writes go together where
// the runtime sees to it; "batched" ones do by hand what the herd does, too, and
// send all that one read brought in one write.
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
	// Start starts the system, empty, and returns when it takes updates. An error
	// that is ErrMissing says what this machine lacks for it.
	Start(ctx context.Context, lab *Lab) (System, error)
}

// System is a rival that runs.
type System interface {
	// Run puts a workload on the system and waits until it has it everywhere. The
	// error is ErrCannot if the system has no such workload.
	Run(ctx context.Context, w Workload) (Outcome, error)
	// Processes are all of the system.
	Processes() []*Process
	// Stop ends them.
	Stop()
}

var (
	// ErrMissing is a rival that this machine cannot run.
	ErrMissing = errors.New("not installed")
	// ErrCannot is a workload that a system does not have.
	ErrCannot = errors.New("no such workload")
)

// Start starts a rival, anew if an address that was free is not so any more when
// one of its processes comes to listen there.
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

// taken is what processes say of such an address.
var taken = regexp.MustCompile(`(?i)address already in use|EADDRINUSE`)

// Workload is what a system is put under, as fast as it goes.
type Workload struct {
	Connections int
	Pipeline    int  // commands in flight on each
	All         bool // all five servers are written to, and not the first alone
	Clients     int
	Duration    time.Duration // whichever ends first
	Count       int
}

// Outcome is what came of a workload.
type Outcome struct {
	Updates    int
	Replicated float64       // updates a second, until all servers had the last
	CPU        time.Duration // of all the system's processes, until then
	Latencies  load.Histogram
	Lost       int
	Differing  int
}

// CPUPerUpdate is the processor time of one update in microseconds.
func (o Outcome) CPUPerUpdate() float64 {
	if o.Updates == 0 {
		return 0
	}
	return float64(o.CPU.Nanoseconds()) / 1e3 / float64(o.Updates)
}

// Lab is where rivals run: a directory of its own, and what was built for them.
type Lab struct {
	Dir   string
	Graph *topology.Graph
	Herd  string // program
	NATS  string // program: a stock nats-server
	Self  string // this program, which runs small rivals as its children
}

// NewLab builds what rivals need. The directory is the caller's to remove. It must
// be called within the module.
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

// EchoName is the name of the limit that all others are compared with.
const EchoName = "echo (M)"

const (
	busName  = "bare bus"
	herdName = "herd"

	loggedName = herdName + " logged"
)

// IsLimit tells whether a rival is a limit of the machine, and no system that one
// could use.
func IsLimit(name string) bool { return name == EchoName || name == busName }

// IsOwn tells whether a rival is the herd, in one of its ways to run.
func IsOwn(name string) bool { return strings.HasPrefix(name, herdName) }

// OnRequest tells whether a rival is compared only when it is asked for, for what
// it costs besides time.
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
