package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

// Run prints the versions that the binary was built from.
func (versionCommand) Run(c console) error {
	modules := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			modules[m.Path] = m.Version
		}
	}
	_, err := fmt.Fprintf(c.Out, "herd %s\nGo %s\nnats.go %s\nnats-server %s\n", version(), runtime.Version(),
		modules["github.com/nats-io/nats.go"], modules["github.com/nats-io/nats-server/v2"])
	return err
}

// version is the version of herd.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
