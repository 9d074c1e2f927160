package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"herd/bus"
	"herd/node/follow"
	"herd/node/replica"
	"herd/node/status"
	"herd/node/wire"
)

// streams sends frames to followers. Which frames is for the replica to say.
type streams struct {
	wake chan struct{} // wakes runStreams; capacity 1

	// Since the server started:
	opened, refused      atomic.Uint64
	frames, lines, bytes atomic.Uint64 // sent
}

func (s *streams) stats() StreamStats {
	return StreamStats{Opened: s.opened.Load(), Refused: s.refused.Load(), Frames: s.frames.Load(), Records: s.lines.Load(), Bytes: s.bytes.Load()}
}

// streamRetry is when a frame is sent again that a stalled bus did not take.
const streamRetry = 50 * time.Millisecond

// Stream takes a request about a stream: bus.Handler.
func (n *Node) Stream(r bus.StreamRequest) error {
	if r.To == "" {
		return n.continueStream(r)
	}
	err := n.openStream(r)
	if err != nil {
		n.streams.refused.Add(1)
		return err
	}
	n.streams.opened.Add(1)
	n.log.Debug("stream opened", "endpoint", r.Endpoint, "id", r.ID)
	return nil
}

// openStream opens a stream. Its snapshot is complete only if the server is ready.
func (n *Node) openStream(r bus.StreamRequest) error {
	if !n.toolRequests.allow(r.Endpoint) {
		return fmt.Errorf("%w: too many requests a second for %s: ask again later", bus.ErrBusy, r.Endpoint)
	}
	if !n.ready.isOpen() {
		return fmt.Errorf("%w: the server is not ready: ask another one", bus.ErrUnavailable)
	}
	cfg := replica.StreamConfig{ID: r.ID, To: r.To, Dump: r.Endpoint == status.DumpEndpoint.Name}
	request, err := follow.Parse(r.Data)
	if cfg.Dump && len(r.Data) > 0 {
		err = fmt.Errorf("the request for a dump has %d bytes, and must be empty", len(r.Data))
	}
	if err != nil {
		return err
	}
	cfg.Filter = follow.NewFilter(request)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopping:
		return fmt.Errorf("%w: the server is stopping", bus.ErrUnavailable)
	case n.bus != connected:
		return fmt.Errorf("%w: NATS is disconnected: ask another server", bus.ErrUnavailable)
	}
	switch err := n.replica.OpenStream(cfg, time.Now()); {
	case errors.Is(err, replica.ErrTooManyStreams):
		return fmt.Errorf("%w: the server has %d streams, as many as it may: ask another one", bus.ErrBusy, replica.MaxStreams)
	case errors.Is(err, replica.ErrStreamExists):
		return fmt.Errorf("%w: a stream has this ID already", bus.ErrConflict)
	default:
		return err
	}
}

// continueStream takes a request about a stream that is open. Nobody is told if there is no such stream, or if
// there are too many requests: the follower will notice that no frames come, and a later confirmation covers
// earlier ones.
func (n *Node) continueStream(r bus.StreamRequest) error {
	if !n.toolRequests.allowContinuing(r.Endpoint) {
		return fmt.Errorf("%w: too many requests a second about streams", bus.ErrBusy)
	}
	var known bool
	n.locked(func() {
		if r.End {
			known = n.replica.EndStream(r.ID)
		} else {
			known = n.replica.ConfirmStream(r.ID, r.Ack, time.Now())
		}
	})
	if !known {
		return fmt.Errorf("%w: no stream has this ID", bus.ErrUnknown)
	}
	return nil
}

// runStreams sends frames to followers when they are due, until ctx ends.
func (n *Node) runStreams(ctx context.Context) {
	var frame replica.StreamFrame // not sent yet, if its Mark is not zero
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.streams.wake:
		case <-due.C:
		}
		due.Reset(time.Until(n.sendStreams(&frame)))
	}
}

// sendStreams sends all frames that are due, beginning with one that was not sent before. It returns
// when it must be called again.
func (n *Node) sendStreams(frame *replica.StreamFrame) (next time.Time) {
	for {
		if frame.Mark == (wire.Mark{}) {
			n.locked(func() { *frame, next = n.replica.NextStreamFrame(frame.Data[:0], time.Now()) })
		}
		if frame.Mark == (wire.Mark{}) {
			if time.Now().Before(next) {
				return next
			}
			runtime.Gosched() // others want the lock
			continue
		}
		if !n.sendStreamFrame(*frame) {
			return time.Now().Add(streamRetry)
		}
		frame.Mark = wire.Mark{}
	}
}

// streamMessage is a frame for the bus.
func streamMessage(f replica.StreamFrame) bus.Message {
	return bus.Message{Lane: bus.Stream, Peer: f.To, Epoch: f.Mark.Epoch, Seq: f.Mark.Seq, SnapshotEnd: f.SnapshotEnd, End: f.End, Data: f.Data}
}

// endStreams ends all streams, and tells their followers, so that they go on elsewhere. Those that do not learn it notice 3 s later that
// nothing comes.
func (n *Node) endStreams() {
	var last []bus.Message
	n.locked(func() {
		for _, f := range n.replica.EndStreams() {
			last = append(last, streamMessage(f))
		}
	})
	if len(last) == 0 {
		return
	}
	if err := n.cfg.Bus.Send(last...); err != nil {
		n.log.Debug("followers not told that the server stops", "err", err)
	}
}

// sendStreamFrame sends a frame, unless the bus is disconnected: then the stream has ended. It reports whether the frame
// is done with. After an uncertain write it is: if it was lost, the follower sees the gap.
func (n *Node) sendStreamFrame(f replica.StreamFrame) (done bool) {
	var gone bool
	n.locked(func() { gone = n.silent || n.bus != connected })
	if gone {
		return true
	}
	err := n.cfg.Bus.Send(streamMessage(f))
	switch {
	case errors.Is(err, bus.ErrDisconnected): // or stalled
		return false
	case err != nil && !errors.Is(err, bus.ErrUncertain):
		n.log.Warn("frame of a stream not sent: the follower has to begin again", "err", err)
		return true
	}
	n.streams.frames.Add(1)
	n.streams.lines.Add(uint64(f.Lines))
	n.streams.bytes.Add(uint64(len(f.Data)))
	return true
}
