// Package replica is one server's mind: the map of clients, what is news, whom
// to tell, which neighbours are alive, and what either side lacks. It is plain
// values and functions, with no I/O, no goroutines and no clock of its own: lines,
// beats and ticks go in, lines, beats and events come out. So a whole herd can be run in a test by one
// seeded queue, and the server around it only has to carry bytes.
//
// How a record moves. Merging a record into the Map tells whether it was news:
// whether it changed the map. News is marked as wanted in the outbox of every
// edge but the one it came over; nothing else ever is, but for what a send that
// failed puts back. That alone ends every loop of the flood, without hop counts and
// without lists of what was seen: a record that comes round again is a duplicate,
// changes nothing, and stops.
//
// Where two neighbours are each other's as well, what one tells us it tells the other
// too. That it did is presumed, for a while, before we tell it again (presumed.go).
//
// An outbox holds no lines, only which clients' records are wanted, so that
// newer news of a client replaces older, and a neighbour that is away costs a few
// bits and a queue slot a client and no more. Fill turns what is wanted into a
// frame, the text that travels over an edge.
//
// What was lost on the way is brought by repair: two neighbours compare their maps
// by digests, and each asks the other for the lines that it lacks (repair.go). What
// a repair brings is news like any other.
//
// A Replica is not for use by several goroutines at once; the server holds a
// lock around it, never across I/O.
package replica
