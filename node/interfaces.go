package node

import (
	"context"

	"herd/bus"
)

// Bus is what a server needs of the message bus.
type Bus interface {
	// Run connects, keeps reconnecting, and calls h with what arrives, until ctx ends.
	// Then it flushes what was sent, disconnects and returns nil. It returns
	// bus.ErrNameTaken if another process has this server's name: at the start before it
	// calls h, or after a reconnect.
	Run(ctx context.Context, h bus.Handler) error

	// Send writes messages to the connection, in their order and in one write if it can.
	// A nil error means that they were written: the bus delivers at most once, and does
	// not say so when it loses a message. After bus.ErrDisconnected and bus.ErrTooLarge
	// nothing was sent. After bus.ErrUncertain any of the messages may have been sent,
	// or may still be sent. After bus.ErrNoEdge those to servers that are no neighbours were
	// left out, and all others were written, as after nil. Send blocks for a tenth of a second at most, not for a reconnect. It may be
	// called concurrently, and keeps no reference to the messages' data.
	Send(messages ...bus.Message) error

	// MaxData is the largest message that Send takes, in bytes of data. It may change
	// with each connection. It does not block.
	MaxData() int

	// PublishEvent publishes a notice for operators, one line of text, about a neighbour
	// or, with peer "", about the server itself. Like Send it does not wait for a
	// reconnect; while disconnected it returns an error and the event is lost.
	PublishEvent(kind, peer, text string) error

	// SetNeighbours changes the neighbours, while Run runs or before. It returns when the
	// bus delivers what new ones send from then on, or soon if it cannot be known. Messages
	// of former neighbours are not delivered any more, except heartbeats; one that is being
	// received may still be. Send leaves out what is for them, with bus.ErrNoEdge, except for heartbeats,
	// which may be sent to any server. It may be called concurrently.
	SetNeighbours(names []string)

	// JoinShared makes the server one of those of which one answers each request at a shared
	// endpoint, on this and each later connection. It does not block.
	JoinShared()

	// Mute unsubscribes from what these neighbours send, except heartbeats, until the next
	// call. It does not block.
	Mute(names []string)

	// Problem is nil, or the reason why the bus cannot be used in full at present, in one
	// line that says what to do: bus.ErrDenied if some subjects are refused. A bus that is only
	// disconnected has none. It does not block.
	Problem() error
}

// Journal is what a server needs of a journal. Append, NeedsCompaction and Compact may be
// called concurrently, but not two Appends.
type Journal interface {
	// Open opens the journal and calls replay with each frame of record lines in it, the
	// oldest first, before it returns. damage describes what could not be read. After an
	// error the journal is as it was.
	// replay must not keep the frame.
	Open(replay func(frame []byte)) (damage []string, err error)

	// Append returns when all frames are in the journal. After an error any of them may
	// be. It may block for as long as the disk does, and keeps no reference to the frames.
	Append(frames [][]byte) error

	// NeedsCompaction reports whether the journal has become much larger than the map,
	// whose size is given in bytes, or is damaged. Then Compact must be called: Append may
	// wait for it.
	NeedsCompaction(mapSize int64) bool

	// Compact writes the frames that next returns, until it returns none, and then drops
	// all that was in the journal when it was called. After an error, such as that of a
	// cancelled ctx, nothing is dropped, and no Append waits until a Compact has succeeded.
	// The frames are used until next is called again.
	Compact(ctx context.Context, next func() [][]byte) error

	// Close closes the journal, after a Compact that runs. All that Append has returned
	// nil for is in it.
	Close() error
}
