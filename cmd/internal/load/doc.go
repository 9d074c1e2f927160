// Package load is a load generator for running servers that checks every reply. `herd
// load`, cmd/herdbench and long tests use it.
//
// Each connection reports its own clients in turn. So the last reply for a client is the
// record that every server must have at the end. A run has three phases:
//
//   - The load. Each reply is compared, in order, with its command: the server's
//     name, the form of the difference, and the client's three fields byte for
//     byte. The load ends after a time or a number of commands, whichever comes
//     first, and once all commands are answered.
//   - Replication. Every server is polled, a little at a time, until it has the newest
//     record of each connection. The replicated rate is measured up to then.
//   - The check. Every server is asked for the records of all clients, or of an evenly
//     spaced sample. A record that is missing or old is lost; one that is not the last
//     reply differs.
//
// # Low overhead
//
// The generator often runs on the same machine as the servers and must leave them the
// processor. All commands have the same length, so the commands in flight on a connection
// are a ring of slots: each is formatted in place, written to the socket from there, and
// compared with its reply there. Commands need no allocations.
//
// Without a rate, each connection is one goroutine, which sends as many commands as it
// just received replies. With a rate, one goroutine sends for all connections, on a
// schedule that does not wait for replies. Latencies then count from the time at which a
// command was due, so that a stalled server is charged for the commands that it delayed.
package load
