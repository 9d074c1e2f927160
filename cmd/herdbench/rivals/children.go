package rivals

import (
	"fmt"
	"os"
)

// asChild, set in the environment, makes this program be a child of a lab.
const asChild = "HERDBENCH_CHILD"

// children are what a child can be, by name. Each runs until it is killed.
var children = map[string]func(args []string) error{
	"echo":   runEcho,
	"relay":  runRelay,
	"source": runSource,
}

// RunChild runs the program as the child that the environment asks for, if it
// does, and then does not return. main must call it first.
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
