// Command herd runs the servers of a herd, all in one process or one process each,
// and inspects them. `herd --help` lists its commands, `herd env` its settings.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"herd/bus/printable"
	"herd/cmd/internal/logwriter"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // an invalid command line or environment
)

func main() {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, release) // a second signal kills the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// commands is the command line. Each command is in a file of its name. The tags exit0 and
// exit1 are what these exit statuses mean where they are not exitMeanings; the settings that
// a command reads are in environment.
type commands struct {
	Up          upCommand          `cmd:"" help:"Run the whole herd in one process." exit0:"stopped by Ctrl-C (SIGINT) or SIGTERM" exit1:"the herd could not start, a server failed, or records were left over at the end"`
	Serve       serveCommand       `cmd:"" help:"Run one server of the herd, with the NATS server at HERD_NATS_URL." exit0:"stopped by Ctrl-C (SIGINT) or SIGTERM" exit1:"the server could not start, it failed, or records were left over at the end"`
	Ask         askCommand         `cmd:"" help:"Send commands to a server as a client, and print the replies." exit0:"every command was answered, if only with ?" exit1:"no connection, or a reply is missing"`
	Get         getCommand         `cmd:"" help:"Print a client's record at every server, and whether the servers agree." exit0:"every server has the same record of the client" exit1:"records differ, no server knows the client, a server does not reply, or NATS failed"`
	Near        nearCommand        `cmd:"" help:"Print the clients that are near a location or a client, the nearest first." exit0:"a server has answered, perhaps with no client" exit1:"the client is not known, no server is ready, or NATS failed"`
	Follow      followCommand      `cmd:"" help:"Print what is known of clients, and then every change, until Ctrl-C." exit0:"stopped by Ctrl-C" exit1:"no server could be followed, or the output could not be written"`
	Dump        dumpCommand        `cmd:"" help:"Print all records of a server." exit0:"the map is printed, all of it" exit1:"no server replied, or the dump is incomplete"`
	Restore     restoreCommand     `cmd:"" help:"Bring records of a file into the running herd." exit0:"all lines were records, and the herd has them or newer ones" exit1:"lines were no records, the map is full, or NATS failed: the counts are printed"`
	Forget      forgetCommand      `cmd:"" help:"Make all servers forget a client." exit0:"no server that replied holds a record of the client, or has known it" exit1:"a server still has a record or cannot forget it, no server replied, or NATS failed"`
	Status      statusCommand      `cmd:"" help:"Print the status of the running herd; exit 0 if it has no problem." exit0:"the herd has no problem; with --watch, stopped by Ctrl-C" exit1:"the herd has problems, which are printed, or NATS failed"`
	Reload      reloadCommand      `cmd:"" help:"Ask servers to read their topology file, certificates and keys again." exit0:"every server has reloaded" exit1:"a server does not reply, or could not reload everything"`
	Watch       watchCommand       `cmd:"" help:"Serve a live page of the running herd." exit0:"stopped by Ctrl-C (SIGINT) or SIGTERM" exit1:"the page's address is in use, or the server failed"`
	Load        loadCommand        `cmd:"" help:"Run a bounded load against running servers, and check every reply." exit0:"every reply was right, and no record was lost" exit1:"a reply was wrong or missing, a record was lost or differs, or the load could not start"`
	Topology    topologyCommand    `cmd:"" help:"Check the topology and print it."`
	BusConfig   busConfigCommand   `cmd:"" help:"Write keys, and a nats-server configuration that restricts each server to its own edges."`
	Healthcheck healthcheckCommand `cmd:"" help:"Exit 0 if the server at HERD_OPS_LISTEN is ready." exit0:"ready" exit1:"not ready, or no answer"`
	Env         envCommand         `cmd:"" help:"Print every environment variable with its default, its value and its meaning." exit0:"the environment is valid"`
	Completion  completionCommand  `cmd:"" help:"Print a script that completes commands in a shell."`
	Manpage     manpageCommand     `cmd:"" help:"Print the manual page, in roff."`
	Version     versionCommand     `cmd:"" help:"Print the versions of herd, Go and NATS."`
	Help        helpCommand        `cmd:"" help:"Print help, for herd or for a command."`

	ShowVersion versionFlag `name:"version" help:"Print the versions, as herd version."`
}

// console is where a command writes: its output to Out, errors and the life-cycle log
// to Err. Both escape what is not printable, except line feeds.
type console struct {
	Out, Err io.Writer
	// log is below Err. It never blocks: a standard error that nobody reads costs lines.
	log *logwriter.Writer
	// stdout is standard output itself, for bytes that must not change. It may be a terminal.
	stdout io.Writer
	// terminal is standard error itself, to show progress on, or nil if that is no
	// terminal.
	terminal io.Writer
}

// logFlush is how long a command waits, when it ends, until its log is written.
const logFlush = time.Second

// usageError is an invalid command line or environment.
type usageError struct{ error }

// outputError is an error to write what a flag such as --help prints. The parser returns it
// among the errors of the command line.
type outputError struct{ error }

// run parses args, runs the command until it returns or ctx is cancelled, and returns
// the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newConsole(stdout, stderr)
	defer c.log.Flush(logFlush)
	var done bool // what the command line asks for is printed
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parser := newParser(kong.Writers(stdout, stderr), kong.Exit(func(int) { done = true }), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(c))
	command, err := parser.Parse(markLocations(args))
	switch {
	case done:
		return exitOK
	case err == nil:
		err = command.Run()
	case !errors.As(err, new(outputError)):
		fmt.Fprintf(c.Err, "herd: %v (see %s)\n", err, helpFor(err))
		return exitUsage
	}
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(c.Err, "herd:", err)
		return exitUsage
	default:
		fmt.Fprintln(c.Err, "herd:", err)
		return exitFailure
	}
}

// helpFor is the command that prints the help to read after an error of the parser.
func helpFor(err error) string {
	var invalid *kong.ParseError
	if errors.As(err, &invalid) && invalid.Context != nil && invalid.Context.Selected() != nil {
		return "herd help " + invalid.Context.Selected().Name
	}
	return "herd help"
}

func newParser(options ...kong.Option) *kong.Kong {
	return kong.Must(&commands{}, append(options,
		kong.Name("herd"),
		kong.Description("A herd of servers that track the locations of mobile clients."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(printHelp),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
	)...)
}

func newConsole(stdout, stderr io.Writer) console {
	log := logwriter.New(stderr, linesLost)
	c := console{Out: printable.Writer(stdout), Err: printable.Writer(log), log: log, stdout: stdout}
	if isTerminal(stderr) {
		c.terminal = stderr
	}
	return c
}

// linesLost is the line of the log that says how many lines are missing.
func linesLost(lines uint64) []byte {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Warn("log lines lost: standard error did not accept them", "lines", lines)
	return b.Bytes()
}
