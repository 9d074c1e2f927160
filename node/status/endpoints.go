package status

import "herd/bus"

// The endpoints of the micro service, each with what a server replies.
var (
	DumpEndpoint    = bus.Endpoint{Name: "dump", Answers: bus.AnswerNamed, Stream: true}    // all records, as a stream
	EdgesEndpoint   = bus.Endpoint{Name: "edges"}                                           // its edges, as a table
	FollowEndpoint  = bus.Endpoint{Name: "follow", Answers: bus.AnswerNamed, Stream: true}  // a stream of what a follow.Request describes
	ForgetEndpoint  = bus.Endpoint{Name: "forget", OpsOnly: true}                           // the tombstone of the client that the request names
	NearEndpoint    = bus.Endpoint{Name: "near", Answers: bus.AnswerOne, Rate: 20_000}      // the clients nearest to a place: node/wire/PROTOCOL.md, "Who is near"
	RecordEndpoint  = bus.Endpoint{Name: "get", Rate: 20_000}                               // the record of the client that the request names, which costs little
	ReloadEndpoint  = bus.Endpoint{Name: "reload", Answers: bus.AnswerNamed, OpsOnly: true} // what changed, a line each, after it has read its files again
	RestoreEndpoint = bus.Endpoint{Name: "restore", Answers: bus.AnswerOne, OpsOnly: true}  // how many of the record lines in the request were news
	Endpoint        = bus.Endpoint{Name: "status"}                                          // a Server, as JSON
)

// Endpoints is the table of all of them. The broker's permissions, the micro service, the
// limits on requests and the tests of these follow from it.
var Endpoints = []bus.Endpoint{DumpEndpoint, EdgesEndpoint, FollowEndpoint, ForgetEndpoint, NearEndpoint, RecordEndpoint, ReloadEndpoint, RestoreEndpoint, Endpoint}
