// Package bus says what crosses the message bus of a herd: messages between
// neighbours, notices for people, and on which subjects. It carries bytes and
// knows nothing of clients or locations.
//
// natsbus is the bus over NATS, embed a NATS server inside the process, bustest
// a network in memory that can be cut, with the one suite of tests that both
// must pass. topology is the graph that the bus is laid along, access the broker's
// rules that hold each server to its edges.
package bus

import (
	"errors"
	"strings"
)

// Lane is what a message between neighbours is about.
type Lane string

// The lanes. Messages of one sender on all lanes of one edge are received in the
// order in which they were sent.
const (
	Edge   Lane = "edge"   // records
	Beat   Lane = "beat"   // heartbeats
	Sync   Lane = "sync"   // questions of repair
	Answer Lane = "answer" // answers to them, which go to the asker's inbox
)

// Lanes is all of them.
var Lanes = []Lane{Edge, Beat, Sync, Answer}

// Message is one message between two neighbours.
type Message struct {
	Lane Lane
	Peer string // the neighbour at the other end: receiver when sent, sender when received

	// The sender's epoch and the message's number on this edge: the headers of
	// Edge messages. Both are 0 where there were none.
	Epoch, Seq uint64

	Data []byte
}

// Handler is told what the bus brings. Its methods may be called by several
// goroutines at once, but for one neighbour Receive is called by one at a time,
// in order.
type Handler interface {
	// Receive takes in a message and owns its data from then on. While it runs,
	// further messages wait, here or at the broker, in bounded memory; beyond that
	// they are lost, and Trouble says so, or the connection ends.
	Receive(Message)
	// Received says that all messages which came together have been received. It
	// follows each Receive, at once or after others that were there already.
	Received()
	// Connected says that the bus is there, so that what neighbours send from
	// now on arrives, or that it is away.
	Connected(bool)
	// Trouble reports what the bus did not do: messages lost because Receive was
	// slow, with the neighbour that sent them, or something denied, by the broker
	// to us or by us to a neighbour, at most once a second for each subject. peer
	// is "" where it is about no single neighbour.
	Trouble(peer string, err error)
}

// What Send and Run return, wrapped or bare.
var (
	ErrAway      = errors.New("the bus is away")                       // nothing was sent
	ErrTooLarge  = errors.New("message is larger than the bus allows") // nothing was sent, nor will be
	ErrNameTaken = errors.New("another process has this server's name on the bus")
)

// What Trouble reports, wrapped, beside other errors.
var (
	ErrSlow   = errors.New("messages were lost because they were not taken in fast enough")
	ErrDenied = errors.New("denied")
)

// Headers of Edge messages.
const (
	EpochHeader = "Herd-Epoch"
	SeqHeader   = "Herd-Seq"
)

// Prefix is the first token of every subject of a herd; the default is "herd".
type Prefix string

// Between is the subject of messages from one neighbour to another. Answers go to
// the asker's inbox, where only its neighbours may speak: were the subject of the
// question's choosing, a neighbour could be made to speak on an edge that is not
// the asker's.
func (p Prefix) Between(lane Lane, from, to string) string {
	if lane == Answer {
		return p.Inbox(to) + "." + from + "." + string(lane)
	}
	return strings.Join([]string{string(p), string(lane), from, to}, ".")
}

// Name is the subject on which the processes that bear one server's name find
// each other.
func (p Prefix) Name(server string) string { return string(p) + ".name." + server }

// Event is the subject of notices of one kind by a server, about a peer or, with
// peer "", about itself.
func (p Prefix) Event(server, kind, peer string) string {
	subject := string(p) + ".event." + server + "." + kind
	if peer != "" {
		subject += "." + peer
	}
	return subject
}

// Endpoints is what a server may be asked, each at its own subject: its edges, the
// record of the client that the request names, its status.
var Endpoints = []string{"edges", "get", "status"}

// Endpoint is the subject on which all servers of the herd are asked one of
// Endpoints.
func (p Prefix) Endpoint(name string) string { return string(p) + "." + name }

// Inbox is the first tokens of the inboxes of one server. The stock first token
// is kept for the default prefix, so that tools' rights need no thought.
func (p Prefix) Inbox(server string) string {
	if p == "herd" {
		return "_INBOX." + server
	}
	return "_INBOX_" + string(p) + "." + server
}

// Connection is the name of a server's connection, as the broker shows it.
func (p Prefix) Connection(server string) string { return string(p) + "/" + server }

// RedactURL is a bus URL as it may be shown: without its user part, which may be a
// password or a token.
func RedactURL(s string) string {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "xxxxx" + rest[at:]
	}
	return scheme + rest
}

// RedactURLs is a list of them.
func RedactURLs(urls []string) string {
	shown := make([]string, len(urls))
	for i, u := range urls {
		shown[i] = RedactURL(u)
	}
	return strings.Join(shown, ",")
}
