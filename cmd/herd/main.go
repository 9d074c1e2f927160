// Command herd runs the servers of a herd, all in one process or one in each,
// and tells about them. `herd --help` lists its commands, `herd env` its settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // a wrong command line or environment
)

func main() {
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, release) // so that a second signal ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// commands is the command line. Each command's Run is in a file of its name.
type commands struct {
	Up          upCommand          `cmd:"" help:"Run the whole herd in this process."`
	Serve       serveCommand       `cmd:"" help:"Run one server of the herd, on the NATS at HERD_NATS_URL."`
	Topology    topologyCommand    `cmd:"" help:"Print the herd's graph after checking it."`
	BusConfig   busConfigCommand   `cmd:"" help:"Write a nats-server configuration that holds each server to its own edges, and keys."`
	Status      statusCommand      `cmd:"" help:"Ask the running herd how it is; exit 0 when all its edges are in step."`
	Load        loadCommand        `cmd:"" help:"Put a bounded load on running servers, and check all that comes back."`
	Healthcheck healthcheckCommand `cmd:"" help:"Exit 0 when the server at HERD_OPS_LISTEN is ready."`
	Env         envCommand         `cmd:"" help:"Print every environment variable with its default, present value and meaning."`
	Version     versionCommand     `cmd:"" help:"Print the versions of herd, Go and NATS."`
}

// console is where a command talks to people: its answers to Out, what goes wrong
// and the life-cycle log to Err.
type console struct {
	Out, Err io.Writer
}

// usageError is a fault of the command line or the environment.
type usageError struct{ error }

// run is the program: it runs the command that args name until it ends or ctx
// does, and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var helped bool
	parser := kong.Must(&commands{},
		kong.Name("herd"),
		kong.Description("A herd of servers that track where mobile clients are."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(console{stdout, stderr}),
	)
	command, err := parser.Parse(args)
	switch {
	case helped:
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "herd: %v (herd --help says more)\n", err)
		return exitUsage
	}
	err = command.Run()
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "herd:", err)
		return exitUsage
	default:
		fmt.Fprintln(stderr, "herd:", err)
		return exitFailure
	}
}
