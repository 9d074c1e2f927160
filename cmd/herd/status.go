package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/natsbus"
	"herd/node/status"
)

type statusCommand struct {
	Wait time.Duration `help:"Wait so long at most for all edges to be in step." placeholder:"30s"`
	JSON bool          `name:"json" help:"Print JSON."`
}

// errNotInStep is the outcome of a status that is told, and not well.
var errNotInStep = errors.New("not all servers answer with all their edges in step")

// Run asks the running herd how it is.
func (s statusCommand) Run(ctx context.Context, c console) error {
	settings, err := loadSettings(func(c *checker, s settings) { c.hasSeeds(s, access.OpsUser) })
	if err != nil {
		return err
	}
	var h status.Herd
	for deadline := time.Now().Add(s.Wait); ; {
		if h, err = askHerd(ctx, settings); err == nil && h.InStep() || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(min(100*time.Millisecond, time.Until(deadline))):
		case <-ctx.Done():
		}
	}
	switch {
	case errors.Is(err, bus.ErrDenied):
		return fmt.Errorf("status: %w (it asks with the operators' key: HERD_NATS_SEED=…/%s%s)", err, access.OpsUser, keydir.SeedExt)
	case err != nil:
		return fmt.Errorf("status: %w", err)
	case s.JSON:
		encoder := json.NewEncoder(c.Out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(h); err != nil {
			return err
		}
	default:
		fmt.Fprint(c.Out, h.Text())
	}
	if !h.InStep() {
		return errNotInStep
	}
	return nil
}

// askHerd asks all servers of the topology, and waits a second at most for those
// that don't answer.
func askHerd(ctx context.Context, s settings) (status.Herd, error) {
	urls := s.natsURLs
	if len(urls) == 0 {
		urls = []string{defaultNATS}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	names := s.graph.Servers()
	var said []status.Server
	var fault error
	err := natsbus.Ask(ctx, s.busConfig(urls, access.OpsUser), "status", func(answer []byte) (more bool) {
		var one status.Server
		if fault = json.Unmarshal(answer, &one); fault != nil {
			fault = fmt.Errorf("an answer that is no status: %w", fault)
			return false
		}
		said = append(said, one)
		return len(status.Gather(names, said).Missing) > 0
	})
	return status.Gather(names, said), errors.Join(err, fault)
}
