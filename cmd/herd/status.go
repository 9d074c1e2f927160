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
	Wait time.Duration `help:"Maximum time to wait until all edges are in step." placeholder:"30s"`
	JSON bool          `name:"json" help:"Print JSON."`
}

var errNotInStep = errors.New("not all servers replied with all their edges in step")

// Run prints the status of the running herd.
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
		return fmt.Errorf("status: %w (use the operators' key: HERD_NATS_SEED=…/%s%s)", err, access.OpsUser, keydir.SeedExt)
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

// askHerd requests the status of all servers of the topology. It waits at most a second
// for servers that do not reply.
func askHerd(ctx context.Context, s settings) (status.Herd, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	names := s.graph.Servers()
	var replies []status.Server
	var malformed error
	err := natsbus.Ask(ctx, s.busConfig(s.busURLs(), access.OpsUser), "status", func(reply natsbus.Reply) (more bool) {
		var one status.Server
		if malformed = json.Unmarshal(reply.Data, &one); malformed != nil {
			malformed = fmt.Errorf("malformed status reply: %w", malformed)
			return false
		}
		replies = append(replies, one)
		return len(status.Gather(names, replies).Missing) > 0
	})
	return status.Gather(names, replies), errors.Join(err, malformed)
}
