package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"herd/bus/plural"
	"herd/node/replica"
	"herd/node/wire"
)

const (
	// stopTimeout is how long a stop may take: to answer what was read, to flood it, and
	// to have it confirmed.
	stopTimeout = 8 * time.Second
	// lookupTimeout is when, after the beginning of a stop, lookups of places end. What
	// was read behind them must still be answered and flooded.
	lookupTimeout = 6 * time.Second
)

// shutDown ends the sessions, hands over what they reported, and says goodbye. support is
// the context of the bus and the flood.
func (n *Node) shutDown(support context.Context) (err error) {
	n.mu.Lock()
	n.stopping, n.stopBy = true, time.Now().Add(stopTimeout)
	n.mu.Unlock()
	deadline, cancel := context.WithTimeout(support, stopTimeout)
	defer cancel()
	n.endSessions(deadline)
	if support.Err() == nil {
		err = n.handOver(deadline)
	}
	n.sayGoodbye()
	return err
}

// endSessions lets every session finish the commands that it has read, and returns when
// all have ended. Those that are busy when ctx ends are disconnected.
func (n *Node) endSessions(ctx context.Context) {
	n.clients.each(func(c net.Conn) {
		c.SetReadDeadline(time.Now())
	})
	last := time.AfterFunc(lookupTimeout, n.endLookups)
	defer last.Stop()
	cut := context.AfterFunc(ctx, func() {
		n.endLookups()
		n.mu.Lock()
		n.journalled.close()
		n.mu.Unlock()
		n.clients.each(func(c net.Conn) { c.Close() })
	})
	n.clients.running.Wait()
	cut()
}

// handOver returns when everything that was news until now has been written to the
// neighbours that are up, and they have confirmed that they merged it. What arrives
// meanwhile is forwarded, and not waited for. It is an error if that takes longer than
// ctx, or if no neighbour agrees on an edge with us.
func (n *Node) handOver(ctx context.Context) error {
	const retry = 20 * time.Millisecond
	n.mu.Lock()
	n.replica.StopDelaying()
	ends := n.replica.Ends(nil)
	n.mu.Unlock()
	sent, before := false, 0
	var last []uint64 // once sent: the sequence numbers of the frames to be confirmed
	for {
		if !sent {
			<-n.flood.token
			n.flush(everything)
		}
		n.mu.Lock()
		failed := n.flushFailed
		switch {
		case sent:
		case failed: // what failed is queued again, at the end
			ends = n.replica.Ends(ends[:0])
		case n.replica.Passed(ends):
			sent, last = true, n.replica.LastSent()
		}
		unconfirmed := 0
		if sent {
			unconfirmed = n.replica.Unconfirmed(last)
		}
		unsent, blocked := n.replica.Queued()
		tooLarge := n.replica.TooLarge()
		_, refused := n.edgeProblem(nil)
		n.mu.Unlock()
		progress := !sent && !failed && unsent != before
		before = unsent
		switch {
		case sent && unconfirmed == 0:
			if tooLarge > 0 {
				return fmt.Errorf("%s %s too large for the bus", plural.Count(tooLarge, "record"), plural.Form(tooLarge, "was", "were"))
			}
			if blocked > 0 && refused != nil { // they will not be there when it comes back, either
				return fmt.Errorf("%s %s not handed over: %w", plural.Count(blocked, "record"), plural.Form(blocked, "was", "were"), refused)
			}
			if blocked > 0 {
				n.log.Warn("records not handed over: the neighbours that need them are down, or their maps are full", "records", blocked)
			}
			return nil
		case ctx.Err() != nil && sent:
			return fmt.Errorf("%s %s not confirmed all records within %v", plural.Count(unconfirmed, "neighbour"), plural.Form(unconfirmed, "has", "have"), stopTimeout)
		case ctx.Err() != nil:
			return fmt.Errorf("%s %s not sent within %v", plural.Count(unsent, "record"), plural.Form(unsent, "was", "were"), stopTimeout)
		case progress: // a backlog: go on
			continue
		}
		n.sendHeartbeats(wire.Heartbeat{Answer: true}) // the answers confirm
		wait(ctx, nil, retry)
	}
}

// sayGoodbye tells followers, neighbours and operators that we stop. Nothing else is sent from then
// on.
func (n *Node) sayGoodbye() {
	n.endStreams()
	n.locked(func() { n.silent = true })
	n.sendHeartbeats(wire.Heartbeat{Bye: true})
	n.emit([]replica.Event{{Kind: kindStop, Text: "stopping"}})
}
