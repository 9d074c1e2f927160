// Package bus defines what crosses the message bus of a herd: messages between
// neighbours and events for people, and their subjects. The bus carries bytes and
// knows nothing of clients or locations.
//
// natsbus is the bus over NATS, embed a NATS server inside the process, and bustest a
// bus in memory that can be cut, with the suite of tests that both must pass. topology
// is the graph of servers, and access the broker's rules that let each server use only
// its own edges.
package bus

import (
	"errors"
	"strings"
)

// Lane is the kind of a message between neighbours.
type Lane string

// The lanes. Messages of one sender on all lanes of one edge are received in the
// order in which they were sent.
const (
	Records     Lane = "edge"   // lines of records
	Heartbeat   Lane = "beat"   // heartbeats
	SyncRequest Lane = "sync"   // requests of repair
	SyncReply   Lane = "answer" // replies to them, which go to the requester's inbox
)

// Stream is the kind of a frame of a stream, which goes to a tool that follows a server.
const Stream Lane = "stream"

// Lanes is all kinds of messages between neighbours.
var Lanes = []Lane{Records, Heartbeat, SyncRequest, SyncReply}

// Message is one message between two neighbours, or a frame of a stream. Heartbeats may also
// come from servers, and go to servers, that are no neighbours.
type Message struct {
	Lane Lane
	// Peer is the server at the other end: receiver when sent, sender when received. Of a
	// frame of a stream it is the subject that StreamRequest.To named.
	Peer string

	// Epoch and Seq are the sender's epoch and the message's number on this edge or stream,
	// which travel as the headers of Records and Stream messages. Both are 0 in a message
	// without them.
	Epoch, Seq uint64
	// SnapshotEnd marks the last frame of a stream's snapshot.
	SnapshotEnd bool
	// End marks the last frame of a stream. It has no data.
	End bool

	Data []byte
}

// StreamRequest is a request of a tool about a stream. The first of a stream has a subject,
// To, for its frames. Later ones have none.
type StreamRequest struct {
	Endpoint string
	ID       string // of the stream, chosen by the tool
	To       string // "" for none
	Ack      uint64 // the tool has received all frames up to this number; 0 says nothing
	End      bool   // no more frames are wanted
	Data     []byte // says what is to be followed
}

// Handler receives what the bus delivers. Several goroutines may call its methods at
// the same time, except that calls of Receive for one neighbour never overlap and keep
// the order of the messages.
type Handler interface {
	// Receive handles a message and owns its data from then on. It is called for what
	// neighbours send, and for heartbeats of servers that are no neighbours (strangers), which
	// have another topology. While it runs, further messages wait in bounded memory, here or
	// at the broker. When that is full, messages are lost: AsyncError reports ErrSlow, or the
	// connection ends.
	Receive(Message)
	// BatchEnd follows Receive once all messages that arrived together have been
	// received. One call may follow many calls of Receive.
	BatchEnd()
	// Connected reports that the bus is connected, so that messages which neighbours
	// send from now on arrive; or that it is disconnected. Its calls do not overlap and
	// alternate, beginning with true.
	Connected(up bool)
	// AsyncError reports an error that belongs to no call: ErrSlow, with the neighbour
	// whose messages were lost; ErrDenied, for what the broker refused us or we refused a
	// neighbour, at most once a second for each subject; or another. peer is "" where the
	// error is about no single neighbour.
	AsyncError(peer string, err error)
	// Answer returns the reply to a request of a tool at one of the service's endpoints.
	// Its error is the reply too, as text, with code 404 for ErrUnknown, 409 for
	// ErrConflict, 429 for ErrBusy, 503 for ErrUnavailable, and 400 for any other. The
	// caller keeps request.
	// It may be called concurrently for shared endpoints.
	Answer(endpoint string, request []byte) (Reply, error)
	// Stream takes a request about a stream. If it is the first of its stream, its error is the reply,
	// with a code as that of Answer; if it is nil, the frames are. The caller keeps the data.
	Stream(StreamRequest) error
}

// Reply is the reply to a request of a tool.
type Reply struct {
	Data   []byte
	Header map[string]string // in addition to those that the service sets; nil for none
}

// Errors of Send, PublishEvent and Run, wrapped or bare.
var (
	// ErrDisconnected: nothing was sent, and nothing will be.
	ErrDisconnected = errors.New("not connected to the bus")
	// ErrUncertain: a write failed or timed out. The messages may have been sent, or may
	// be sent yet, in part or in whole.
	ErrUncertain = errors.New("bus write timed out or failed; messages may have been sent")
	// ErrTooLarge: the message was not sent, and never will be.
	ErrTooLarge = errors.New("message is larger than the bus allows")
	// ErrNoEdge: the messages to servers that are no neighbours were not sent, and never will
	// be. The others of the same call were sent, as after a nil error.
	ErrNoEdge    = errors.New("the receiver is no neighbour")
	ErrNameTaken = errors.New("another process has this server's name on the bus")
)

// Errors of AsyncError, wrapped, beside others.
var (
	ErrSlow   = errors.New("messages were lost: they arrived faster than they were received")
	ErrDenied = errors.New("denied")
)

// Errors of Answer and of natsbus.Request, wrapped or bare.
var (
	ErrUnknown     = errors.New("unknown")     // what the request asks for does not exist
	ErrConflict    = errors.New("conflict")    // it contradicts what is there
	ErrBusy        = errors.New("busy")        // too much is under way: try again later
	ErrUnavailable = errors.New("unavailable") // the server cannot do it at present, or does not answer
)

// LeftOutHeader is the header of a reply that says how many of its lines did not fit.
const LeftOutHeader = "Herd-Left-Out"

// Headers of Records messages.
const (
	EpochHeader = "Herd-Epoch"
	SeqHeader   = "Herd-Seq"
)

// Headers of streams: of requests, and of frames.
const (
	StreamHeader = "Herd-Follow" // the stream's ID, in each request
	AckHeader    = "Herd-Ack"
	EndHeader    = "Herd-End" // "true", also of a stream's last frame

	StreamEpochHeader = "Herd-Follow-Epoch"
	StreamSeqHeader   = "Herd-Follow-Seq"
	SnapshotHeader    = "Herd-Snapshot" // SnapshotEnd
	SnapshotEnd       = "end"
)

// Prefix is the first token of every subject of a herd; the default is "herd".
type Prefix string

// Between is the subject of messages from one neighbour to another. Replies of repair
// go to the requester's inbox, where only its neighbours may publish. If the request
// named the subject of its reply, a neighbour could be made to publish on an edge that
// is not the requester's.
func (p Prefix) Between(lane Lane, from, to string) string {
	if lane == SyncReply {
		return p.Inbox(to) + "." + from + "." + string(lane)
	}
	return strings.Join([]string{string(p), string(lane), from, to}, ".")
}

// Name is the subject on which processes with the same server's name find each other.
func (p Prefix) Name(server string) string { return string(p) + ".name." + server }

// Event is the subject of a server's events of one kind, about a peer or, with peer "",
// about itself.
func (p Prefix) Event(server, kind, peer string) string {
	subject := string(p) + ".event." + server + "." + kind
	if peer != "" {
		subject += "." + peer
	}
	return subject
}

// Strangers matches the heartbeats of all servers to this one, neighbours or not.
func (p Prefix) Strangers(server string) string { return p.Between(Heartbeat, "*", server) }

// Inbox is the first tokens of one server's inboxes. With the default prefix they begin
// with NATS's own first token, so that the permissions of tools fit as they are.
func (p Prefix) Inbox(server string) string {
	if p == "herd" {
		return "_INBOX." + server
	}
	return "_INBOX_" + string(p) + "." + server
}

// Connection is the name of a server's connection, as the broker shows it.
func (p Prefix) Connection(server string) string { return string(p) + "/" + server }
