package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"herd/bus"
	"herd/node/replica"
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
// are up, and is not kept off all of its edges.
func (n *Node) awaitInStep(ctx context.Context) {
	const poll = 5 * time.Millisecond
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
	n.cfg.Bus.JoinShared() // first: who sees that we are ready may request
	n.ready.open()
	n.beginExpiry()
	signal(n.readinessChanged)
	n.sendHeartbeats(wire.Heartbeat{}) // neighbours may wait for us to be ready
}

// inStep reports whether a server that sent its first heartbeats at greeted is in step
// with all neighbours that are up, and not kept off its edges. While the bus cannot be
// reached, no neighbour is up.
func (n *Node) inStep(greeted time.Time) bool {
	problem := n.cfg.Bus.Problem()
	n.mu.Lock()
	defer n.mu.Unlock()
	if up, why := n.edgeProblem(problem); up == 0 && why != nil && len(n.replica.Topology().Neighbours) > 0 {
		return false
	}
	return n.bus != connected || n.replica.Ready(time.Now(), greeted)
}

// edgeProblem is the number of edges that are up, and why this server is kept off its edges, nil
// if it is not: the bus has a problem, or no neighbour agrees on an edge with it. Missing
// permissions may be meant for one edge, which a new topology leaves out. So they count only
// while no edge is up. The lock is held.
func (n *Node) edgeProblem(problem error) (up int, why error) {
	refused := ""
	for _, i := range n.edgeInfos(time.Now()) {
		switch {
		case i.Up:
			up++
		case i.Refused:
			refused = i.Problem
		}
	}
	switch {
	case problem != nil && (up == 0 || !errors.Is(problem, bus.ErrDenied)):
		return up, problem
	case up == 0 && refused != "":
		return up, errors.New(refused)
	}
	return up, nil
}

func (n *Node) records() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica.Map().Known() // without those that have just expired
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
// heartbeat for half a second counts as down. If the bus cannot be reached, WHATSAT is
// answered two seconds after the start; with repair off, from the start. Later the server
// is unready while the bus is disconnected or limits it, no neighbour agrees on an edge
// with it, the journal fails, or its clock is off, and when it stops.
func (n *Node) Ready() error {
	if err := n.unready(); err != nil {
		return fmt.Errorf("%s: %w", n.cfg.Name, err)
	}
	return nil
}

// unready is why the server is not ready.
func (n *Node) unready() error {
	problem := n.cfg.Bus.Problem()
	n.mu.Lock()
	defer n.mu.Unlock()
	_, edgeProblem := n.edgeProblem(problem)
	clock := n.replica.ClockProblem()
	switch {
	case n.stopping:
		return errors.New("stopping")
	case n.journalFailed:
		return errors.New("the journal fails")
	case n.replica.Unjournalled() > 0 && !n.unsavedSince.IsZero() && time.Since(n.unsavedSince) > journalTimeout:
		return fmt.Errorf("the journal is slow: records have waited for more than %v", journalTimeout)
	case edgeProblem != nil:
		return edgeProblem
	case n.bus == disconnected || n.bus == neverConnected && n.ready.isOpen():
		return errors.New("NATS is disconnected")
	case !n.ready.isOpen():
		return n.notInStep()
	case n.replica.Full() != "":
		return fullError(n.replica.Full())
	case clock != "":
		return clockError(clock)
	}
	return nil
}

// clockError says that our clock is off, and fullError that our map is full. Their texts have
// numbers that change all the time.
type (
	clockError string
	fullError  string
)

func (e clockError) Error() string { return string(e) }
func (e fullError) Error() string  { return string(e) }

// notInStep names the neighbours that a server is not in step with that is not ready yet.
// The lock is held.
func (n *Node) notInStep() error {
	if n.bus == neverConnected {
		return errors.New("not connected to NATS yet")
	}
	var with []string
	for _, i := range n.edgeInfos(time.Now()) {
		if i.Up && !i.InStep {
			with = append(with, i.Peer)
		}
	}
	if len(with) == 0 {
		return errors.New("not yet in step with its neighbours")
	}
	return fmt.Errorf("not yet in step with %s", strings.Join(with, ", "))
}

// readinessLog is what the log last said about readiness. Only runHeartbeats uses it.
type readinessLog struct {
	began  time.Time // of the server
	logged bool
	kind   string // of the reason; "" for ready
}

// noteReadiness logs that the server became ready, or why it is not. So the log says ready
// when /readyz does.
func (n *Node) noteReadiness(now time.Time) {
	l, reason, kind := &n.readiness, "", ""
	if err := n.unready(); err != nil {
		reason = err.Error()
		switch kind = reason; {
		case errors.As(err, new(clockError)):
			kind = "clock"
		case errors.As(err, new(fullError)):
			kind = "full"
		}
	}
	if l.logged && l.kind == kind || !l.logged && kind != "" && now.Sub(l.began) < replica.HeartbeatEvery { // a start takes a moment
		return
	}
	l.logged, l.kind = true, kind
	if reason == "" {
		n.log.Info("ready", "after", now.Sub(l.began), "records", n.records())
	} else {
		n.log.Warn("not ready", "reason", reason)
	}
}
