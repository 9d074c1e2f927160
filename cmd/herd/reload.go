package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/natsbus"
	"herd/node"
	"herd/node/status"
)

type reloadCommand struct {
	Names []string `arg:"" optional:"" name:"name" predictor:"server" help:"Servers (default: all of the topology)."`
}

// reloadTimeout is how long a server may take to reload: replacing edges takes up to
// node.NewEdgeTimeout.
const reloadTimeout = node.NewEdgeTimeout + 5*time.Second

// Run asks servers to reload, all at the same time: new edges must appear at both their ends.
func (r reloadCommand) Run(ctx context.Context, c console) error {
	s, err := loadSettings(func(c *checker, s settings) {
		c.hasSeeds(s, access.OpsUser)
		for _, name := range r.Names {
			c.isServer("reload", name, s)
		}
	})
	if err != nil {
		return err
	}
	names := r.Names
	if len(names) == 0 {
		names = s.graph.Servers()
	}
	cfg := s.busConfig(s.busURLs(), access.OpsUser)
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	type outcome struct {
		reply []byte
		err   error
	}
	outcomes := make([]chan outcome, len(names))
	for i, name := range names {
		outcomes[i] = make(chan outcome, 1)
		go func() {
			reply, err := natsbus.Request(ctx, cfg, status.ReloadEndpoint, name, nil)
			outcomes[i] <- outcome{reply, err}
		}()
	}
	var failed []error
	denied := false
	for i, name := range names {
		o := <-outcomes[i]
		switch {
		case o.err == nil:
			fmt.Fprintf(c.Out, "%s\n%s\n", name, o.reply)
		case !errors.Is(o.err, bus.ErrDenied):
			failed = append(failed, fmt.Errorf("reload %s: %w", name, o.err))
		case !denied: // the others are denied for the same reason
			denied = true
			failed = append(failed, fmt.Errorf("reload %s: %s (%w)", name, opsKeyHint(ctx, cfg), o.err))
		}
	}
	return errors.Join(failed...)
}
