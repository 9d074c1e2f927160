// Package node is one server of a herd: it answers clients over TCP, keeps the
// map, and floods what is news to its neighbours.
//
// How a report travels. A session (session.go) reads lines from its connection,
// parses them (package wire) and merges reports into the replica (package
// replica), which marks news as wanted on the edges. Before it writes its replies
// it waits for the flood (flood.go): a pass turns all that is wanted into messages
// on the bus, one an edge, and they leave in one write. The session makes the pass
// itself, or another does that came at the same time. Where there is a journal
// (journaling.go), a goroutine puts what is news into it, and sessions wait for that
// too. A message that comes in from a neighbour (edges.go) is merged the same way, in
// the goroutine that reads from the bus; what was news is wanted on the other edges,
// and that goroutine makes the pass which takes it on. What was lost on the way is
// found and brought by repair (repair.go). DESIGN.md tells what all that costs.
//
// Who owns what:
//
//   - Node.mu guards the replica and the flood's account of who waits. It is never
//     held across a send, a write, a callback or a log call.
//   - A session is one goroutine: it reads, handles and writes, and needs no lock.
//     Its buffers are a workspace from a pool, given back while nothing comes.
//     While it asks for places, another looks whether its client is there (watch.go).
//   - Passes of the flood are made by whoever has its turn, one at a time.
//   - The bus calls Receive with one message after the other, and Received when those
//     that came together have been; each call ends when the message has been merged,
//     or the pass of the flood has been made that passes it on.
//   - The pulse (edges.go), one goroutine, says each second on each edge that we
//     live, and looks for neighbours that have fallen silent.
//
// Starting and stopping. The journal is read before anything else. Then Run has
// two stages. Serving, the listener and its sessions, runs inside support: bus,
// flood, journal, pulse, traffic log. Serving ends first; then what was news until
// then is flooded, and neighbours that are up confirm that they have merged it;
// then they are told goodbye, and support ends.
//
// What operators see: events (edges.go), status and records for tools on the bus
// (status.go), HTTP (ops.go) with metrics (metrics.go, latency.go), the traffic log
// (traffic.go), and at level debug the way of each record (trace.go).
//
// Every queue has a bound: an outbox holds each client at most once, a session one
// read and the replies to it, the traffic log 4 MB before those who write it wait.
// What the bus brings is merged before more is read; the rest waits at the broker,
// which ends a connection on which too much waits, or on which nothing is read for some
// seconds, as when a traffic log's disk takes nothing. What is lost then is found by
// the numbers of messages.
package node
