// Package nearest finds the clients that are nearest to a place. It is pure: no I/O, no
// locks, no goroutines.
//
// # The index
//
// An Index divides the Earth into cells of 2^24 latitudes by 2^24 longitudes: about one
// metre by two. It numbers them along a Z-order curve, so that cells with near numbers are
// mostly near each other, and all cells of any rectangle that halving the Earth gives are one
// range of numbers (curve.go). It keeps the clients' IDs in the order of their cells, in
// blocks of up to 31, with two levels of sorted arrays above them (index.go). That takes
// about 13 bytes a client: 6 for its cell, by which it is found when it moves, and the rest
// for its place in a block. The exact position is not in the index: a Search reads it from
// the client's record.
//
// # The search
//
// A Search begins with the whole Earth as one area and keeps the areas that it has not
// looked at in a heap, the nearest first. It takes the nearest area and halves it, or, if few
// blocks hold its clients, looks at those. It ends when no area is nearer than the
// farthest of the results. The bounds by which it leaves out areas and cells are below the
// true distances (package geo), so the result is that of comparing all clients
// (search.go).
//
// A Search can be continued after the index has changed, if it is told which clients have.
// So the caller can hold its lock for a bounded amount of work at a time.
package nearest
