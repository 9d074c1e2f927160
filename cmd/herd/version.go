package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

// Run prints the versions that the binary was built from.
func (versionCommand) Run(c console) error {
	_, err := io.WriteString(c.Out, versions())
	return err
}

// versions is a line for each version.
func versions() string {
	modules := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			modules[m.Path] = m.Version
		}
	}
	return fmt.Sprintf("herd %s\nGo %s\nnats.go %s\nnats-server %s\n", version(), runtime.Version(),
		modules["github.com/nats-io/nats.go"], modules["github.com/nats-io/nats-server/v2"])
}

// version is the version of herd.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
