// Package load puts a bounded load on running servers of a herd and checks all
// that comes back: `herd load`, the comparison in cmd/herdbench and long tests
// share it.
//
// Each connection has clients of its own, which it reports in turn, so that the
// last reply to each is the record that every server must end with. A run has
// three phases:
//
//   - The load. Each reply is compared, in order, with its command: the server's
//     name, the form of the difference, and the client's three fields byte for
//     byte. It ends after a time or a count of commands, whichever comes first,
//     and with the replies to what was sent until then.
//   - Replication. Every server is asked, gently, for the last client of each
//     connection, until it answers with the last reply. That stops the clock of
//     the replicated rate.
//   - The check. Every server is asked for all clients, or for an even sample of
//     them; records that it lacks are lost, others than the last reply differ.
//
// # How it keeps out of the way
//
// On the same machine as the servers, what the generator uses they lack. A command
// has a fixed length, so that a connection's commands in flight are a ring of
// slots: made in place, written to the socket from there, and compared with the
// reply there. Nothing is allocated for a command. As fast as it goes, a
// connection is one goroutine that sends as many commands as it just got replies
// to. At a given rate one goroutine sends for all connections, by a timetable
// that does not wait for replies, and latencies count from when a command was to
// be sent: a server that stalls is charged with all that would have been sent
// meanwhile.
package load
