package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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
	names := slices.Clone(r.Names)
	if len(names) == 0 {
		names = s.graph.Servers()
	}
	slices.SortFunc(names, func(a, b string) int { return s.graph.Index(a) - s.graph.Index(b) })
	names = slices.Compact(names)
	cfg := s.busConfig(s.busURLs(), access.OpsUser)
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	type outcome struct {
		reply []byte
		err   error
	}
	outcomes := make([]outcome, len(names))
	var requests sync.WaitGroup
	for i, name := range names {
		requests.Go(func() {
			reply, err := natsbus.Request(ctx, cfg, status.ReloadEndpoint, name, nil)
			outcomes[i] = outcome{reply, err}
		})
	}
	requests.Wait()
	if !slices.ContainsFunc(outcomes, func(o outcome) bool { return !errors.Is(o.err, bus.ErrDenied) }) {
		return fmt.Errorf("reload: %s (%w)", opsKeyHint(ctx, cfg), outcomes[0].err)
	}
	var out strings.Builder
	var failed []error
	for i, name := range names {
		switch o := outcomes[i]; {
		case o.err == nil:
			for line := range strings.Lines(string(o.reply)) {
				fmt.Fprintf(&out, "%s: %s\n", name, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), name+": "))
			}
		case errors.Is(o.err, bus.ErrDenied):
			failed = append(failed, fmt.Errorf("reload %s: the broker permits this request for other servers only: %s is not in the topology of the running herd, or the broker's rules are older than it (%w)", name, name, o.err))
		default:
			failed = append(failed, fmt.Errorf("reload %s: %w", name, busHint(o.err)))
		}
	}
	_, err = io.WriteString(c.Out, out.String())
	return errors.Join(append([]error{err}, failed...)...)
}
