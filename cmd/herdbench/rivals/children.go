package rivals

import (
	"fmt"
	"os"
)

// asChild is the environment variable that makes this program run as a child of a lab.
const asChild = "HERDBENCH_CHILD"

// children are the functions that a child can run, by name. Each runs until the process
// is killed.
var children = map[string]func(args []string) error{
	"attack": runAttack,
	"echo":   runEcho,
	"relay":  runRelay,
	"source": runSource,
}

// RunChild runs the child that the environment selects, and then does not return; it
// returns if the environment selects none. main must call it first.
func RunChild() {
	run := children[os.Getenv(asChild)]
	if run == nil {
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "herdbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(name string) []string { return []string{asChild + "=" + name} }
