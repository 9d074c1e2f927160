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
	Wait     time.Duration `help:"Maximum time to wait until the herd has no problem, for example 30s (default: no wait)." placeholder:"DURATION" xor:"wait,watch"`
	Watch    bool          `help:"Print the status again and again, until Ctrl-C. On a terminal it stays in place." xor:"wait,watch"`
	Interval time.Duration `placeholder:"DURATION" help:"With --watch: time between two requests, 100ms at least (default: 2s)."`
	JSON     bool          `name:"json" help:"Print JSON; with --watch one line each time."`
}

// restTime is the least time between two statuses that show whether maps change.
const restTime = time.Second

// Run prints the status of the running herd. Its error names no problem: they are printed.
func (s statusCommand) Run(ctx context.Context, c console) error {
	settings, err := loadSettings(func(check *checker, loaded settings) {
		check.hasSeeds(loaded, loaded.readUser())
		if s.Wait < 0 {
			check.fault("--wait", "%v is less than 0", s.Wait)
		}
		switch {
		case s.Interval == 0:
			s.Interval = defaultInterval
		case !s.Watch:
			check.fault("--interval", "requires --watch")
		case s.Interval < leastInterval:
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
		if _, err := fmt.Fprint(c.Out, h.Text()); err != nil {
			return err
		}
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
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, bus.ErrDenied):
		return fmt.Errorf("%w (set HERD_NATS_SEED to the key of an operator or a guest: …/%s or …/%s)", err,
			keydir.SeedFile("", access.OpsUser), keydir.SeedFile("", access.GuestUser))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (is the herd running, and is HERD_NATS_URL the address of its NATS server?)", err)
	case errors.Is(err, natsbus.ErrHandshake):
		return fmt.Errorf("%w: is HERD_NATS_URL the address of a NATS server?", err)
	}
	return err
}

// await requests the status until the herd has no problem, for s.Wait at most, and returns the
// last one. Maps that differ may be changing: that takes a second request, also without s.Wait.
func (s statusCommand) await(ctx context.Context, settings settings) (h status.Herd, err error) {
	deadline := time.Now().Add(s.Wait)
	for p := newPoller(settings); ; {
		h, err = p.poll(ctx, s.timeout(time.Until(deadline)))
		well := err == nil && h.Well()
		compared := h.Maps != status.Changing || p.compared
		if ctx.Err() != nil || well && compared || !well && (err != nil || compared) && !time.Now().Before(deadline) {
			return h, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// timeout is how long a request may take while that much of s.Wait is left.
func (s statusCommand) timeout(left time.Duration) time.Duration {
	if s.Wait == 0 {
		return askTimeout
	}
	return min(askTimeout, max(replyTimeout, left))
}

// poller requests the status again and again. Those that are restTime apart show whether maps
// change.
type poller struct {
	settings settings
	base     status.Herd // an earlier status, at baseAt
	baseAt   time.Time
	compared bool // the last status was compared with an earlier one
}

func newPoller(s settings) *poller { return &poller{settings: s} }

// poll requests the status of all servers. Replies that are not of the server that sent them,
// or malformed, do not count: anybody may send them on a bus without keys.
func (p *poller) poll(ctx context.Context, timeout time.Duration) (status.Herd, error) {
	now := time.Now()
	p.compared = !p.baseAt.IsZero() && now.Sub(p.baseAt) >= restTime
	var earlier status.Herd
	if p.compared {
		earlier = p.base
	}
	names := p.settings.graph.Servers()
	var replies []status.Server
	err := askAll(ctx, p.settings.readBus(), status.Endpoint, nil, timeout, func(r natsbus.Reply) (counts, more bool) {
		var one status.Server
		if json.Unmarshal(r.Data, &one) != nil || one.Server != r.Server {
			return false, true
		}
		replies = append(replies, one)
		return true, len(status.Gather(names, replies, earlier).Missing) > 0
	})
	h := status.Gather(names, replies, earlier)
	if p.baseAt.IsZero() || p.compared {
		p.base, p.baseAt = h, now
	}
	return h, err
}
