package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"herd/bus"
	"herd/node/wire"
)

// connectTimeout is how long a server waits for the bus before it gets ready without it.
const connectTimeout = 2 * time.Second

// gate is closed until it is opened, once.
type gate struct {
	opened <-chan struct{}
	open   func()
}

func newGate() gate {
	c := make(chan struct{})
	return gate{c, sync.OnceFunc(func() { close(c) })}
}

func (g gate) isOpen() bool {
	select {
	case <-g.opened:
		return true
	default:
		return false
	}
}

// awaitInStep opens the ready gate once the server is in step with all neighbours that
// are up.
func (n *Node) awaitInStep(ctx context.Context) {
	const poll = 5 * time.Millisecond
	began := time.Now()
	if n.cfg.Repair > 0 {
		wait(ctx, n.connected.opened, connectTimeout)
	}
	if ctx.Err() != nil {
		return
	}
	for greeted := time.Now(); !n.inStep(greeted); {
		if wait(ctx, nil, poll); ctx.Err() != nil {
			return
		}
	}
	n.ready.open()
	n.log.Info("ready", "after", time.Since(began), "records", n.records())
	n.sendHeartbeats(wire.Heartbeat{}) // neighbours may wait for us to be ready
}

// inStep reports whether a server that sent its first heartbeats at greeted is in step
// with all neighbours that are up. While the bus is disconnected, none is. A server that
// the bus keeps off its edges is not in step.
func (n *Node) inStep(greeted time.Time) bool {
	if err := n.cfg.Bus.Problem(); err != nil && !errors.Is(err, bus.ErrDegraded) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bus != connected || n.replica.Ready(time.Now(), greeted)
}

func (n *Node) records() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Map().Len()
}

// AwaitReady returns when the server is ready for the first time, or ctx ends.
func (n *Node) AwaitReady(ctx context.Context) {
	select {
	case <-n.ready.opened:
	case <-ctx.Done():
	}
}

// Ready is nil when the server is ready, and else says why it is not. A server gets ready
// once it is in step with all neighbours that are up; one that has not answered our first
// heartbeat for half a second counts as down. If the bus cannot be reached, it gets ready
// two seconds after its start; with repair off, at its start. Later it is unready while
// the bus is disconnected, the journal fails, or its clock and a neighbour's differ by
// much, and when it stops.
func (n *Node) Ready() error {
	if !n.ready.isOpen() {
		if err := n.cfg.Bus.Problem(); err != nil {
			return fmt.Errorf("%s: %w", n.cfg.Name, err)
		}
		return fmt.Errorf("%s: not yet in step with its neighbours", n.cfg.Name)
	}
	if err := n.cfg.Bus.Problem(); err != nil {
		return fmt.Errorf("%s: %w", n.cfg.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	clock := n.replica.ClockProblem()
	switch {
	case n.stopping:
		return fmt.Errorf("%s: stopping", n.cfg.Name)
	case n.journalFailed:
		return fmt.Errorf("%s: the journal fails", n.cfg.Name)
	case n.bus != connected:
		return fmt.Errorf("%s: NATS is disconnected", n.cfg.Name)
	case clock != "":
		return fmt.Errorf("%s: %s", n.cfg.Name, clock)
	}
	return nil
}
