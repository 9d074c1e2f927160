package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/natsbus"
	"herd/node/status"
)

type statusCommand struct {
	Wait     time.Duration `help:"Maximum time to wait until the herd has no problem." placeholder:"30s" xor:"wait,watch"`
	Watch    bool          `help:"Print the status again and again, until Ctrl-C. On a terminal it stays in place." xor:"wait,watch"`
	Interval time.Duration `default:"2s" help:"With --watch: time between two looks, 100ms at least."`
	JSON     bool          `name:"json" help:"Print JSON; with --watch one line each time."`
}

const (
	// lookTimeout is how long a look at the herd may take, the connection included. The link
	// to the broker may be slow.
	lookTimeout = 5 * time.Second
	// replyTimeout is how long the other servers have once one has replied, or as long as
	// that took, if this is longer.
	replyTimeout = time.Second
	// restTime is the time between two looks that show whether maps change.
	restTime = time.Second
	// pollEvery is how often we look while we wait.
	pollEvery = 100 * time.Millisecond
)

// Run prints the status of the running herd. Its error names no problem: they are printed.
func (s statusCommand) Run(ctx context.Context, c console) error {
	settings, err := loadSettings(func(check *checker, loaded settings) {
		check.hasSeeds(loaded, loaded.readUser())
		if s.Interval < leastInterval {
			check.fault("--interval", "%v is not at least %v", s.Interval, leastInterval)
		}
	})
	if err != nil {
		return err
	}
	if s.Watch {
		return s.watch(ctx, c, settings)
	}
	h, err := s.await(ctx, settings)
	switch {
	case err != nil:
		return fmt.Errorf("status: %w", busHint(err))
	case s.JSON:
		encoder := json.NewEncoder(c.Out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(h); err != nil {
			return err
		}
	default:
		fmt.Fprint(c.Out, h.Text())
	}
	if !h.Well() {
		return errProblems
	}
	return nil
}

var errProblems = errors.New("status: the herd has problems")

// busHint says what to do about an error of the bus.
func busHint(err error) error {
	switch {
	case errors.Is(err, bus.ErrDenied):
		return fmt.Errorf("%w (set HERD_NATS_SEED to the key of an operator or a guest: …/%s or …/%s)", err,
			keydir.SeedFile("", access.OpsUser), keydir.SeedFile("", access.GuestUser))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (is the herd running, and is HERD_NATS_URL the address of its NATS server?)", err)
	}
	return err
}

// await looks at the herd until it has no problem, for s.Wait at most, and returns the last
// look. Maps that differ may be changing: that takes a second look.
func (s statusCommand) await(ctx context.Context, settings settings) (h status.Herd, err error) {
	var base status.Herd // an earlier look, at baseAt
	var baseAt time.Time
	for deadline := time.Now().Add(s.Wait); ; {
		now := time.Now()
		var earlier status.Herd
		aged := !baseAt.IsZero() && now.Sub(baseAt) >= restTime
		if aged {
			earlier = base
		}
		h, err = look(ctx, settings, earlier)
		well := err == nil && h.Well()
		compared := h.Maps != status.Changing || aged
		if ctx.Err() != nil || well && compared || !well && now.After(deadline) {
			return h, err
		}
		if baseAt.IsZero() || aged {
			base, baseAt = h, now
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// look requests the status of all servers. earlier is an earlier look: see status.Gather.
// Replies that are not of the server that sent them, or malformed, do not count: anybody may
// send them on a bus without keys.
func look(ctx context.Context, s settings, earlier status.Herd) (status.Herd, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	names := s.graph.Servers()
	var replies []status.Server
	err := natsbus.Ask(ctx, s.busConfig(s.busURLs(), s.readUser()), status.Endpoint, nil, func(r natsbus.Reply) (more bool) {
		var one status.Server
		if json.Unmarshal(r.Data, &one) != nil || one.Server != r.Server {
			return true
		}
		if replies = append(replies, one); len(replies) == 1 {
			time.AfterFunc(max(replyTimeout, time.Since(began)), cancel)
		}
		return len(status.Gather(names, replies, earlier).Missing) > 0
	})
	return status.Gather(names, replies, earlier), err
}
