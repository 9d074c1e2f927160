// Package replica is the state machine of one server: it decides which records are news,
// to whom they are forwarded, which neighbours are up, and what has to be repaired. It
// has no I/O, no goroutines and no clock: records, heartbeats and ticks go in;
// frames, heartbeats and events come out. So a test can run a whole herd from one seeded
// queue, and the server around it only carries bytes.
//
// # Flooding
//
// Merging a record into the store tells whether it was news, that is, whether it changed
// the map. News is queued for every neighbour but the one that sent it. No other record is
// ever queued, except those of a frame that could not be sent. That alone ends every
// loop: a record that comes round again is a duplicate, changes nothing and stops.
// No hop counts and no lists of seen records are needed.
//
// A queue holds no lines, only the IDs of clients (outbox.go). The line is read when a
// frame is filled, so it is always the newest. A neighbour that is down costs a few bits
// and one queue slot per client. Each edge has three queues, and a client is in at
// most one of them (edge.go):
//
//   - live: news for a neighbour that is up. Replies to clients wait until it is sent.
//   - backlog: what gathered while the neighbour was down. It is sent after live.
//   - delayed: news that the neighbour should get from somebody else (delay.go).
//
// # Repair
//
// What was lost on the way is found by sequence numbers (sequence.go) and by digests in
// heartbeats (heartbeat.go). Repair then compares the two maps and transfers the
// differences: schedule.go decides when, compare.go is the side that asks, answer.go the
// side that answers. A repaired record is news like any other. Comparisons with several
// neighbours run at the same time; each is bounded in time and bytes.
//
// # Expiry
//
// With Config.Keep a record expires that time after its receipt (keep.go). Every answer checks that by itself. Counts,
// followers and the index of places follow within a second or two, and the record leaves the map minutes later, together with
// all others of its minute (wheel.go, expire.go). What has left the map is stale from then on, and neighbours do not compare
// it, so it does not come back. Nothing expires while our clock may be wrong.
//
// # Topology
//
// The graph may change while a server runs, and two neighbours may have different graphs
// for a while (topology.go). An edge works when both its ends list it and their formats
// agree. Any other difference is reported once and changes only which records are delayed.
//
// A Replica is not safe for concurrent use. The server holds a lock around it, and never
// across I/O.
package replica
