// Package follow is the protocol between a server and a tool that follows it: what the tool
// asks for (Request, Filter), and what it makes of the frames that it receives (Follower). It does no
// I/O.
//
// A stream begins with a snapshot: the records of all clients that match the request. Then come
// changes. Each frame is lines: records, and `- <client>` for a client that is unknown from then
// on. node/README.md has the whole protocol.
package follow
