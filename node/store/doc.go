// Package store is the storage engine of a server: it keeps, for each client, the
// record that wins, in memory. It has no I/O, no locks and no goroutines.
//
// A Map consists of a hash index over clients (index.go), an entry of 40 bytes per client
// (map.go), and the records' lines in an arena (arena.go). Digests over all records, in
// two levels, show two servers where their maps differ (digest.go). Lines that arrive
// together are merged in batches, which overlaps their cache misses (batch.go). A large
// map is allocated in large blocks with huge pages (slab.go). Records can be removed, and IDs and
// memory are then used again (remove.go, evacuate.go).
//
// A Map is not safe for concurrent use. The server holds a lock around it.
package store
