// Package wire is the herd's language: the commands that a client may say, the
// record that servers keep and pass on, and the rule by which one record beats
// another. It is pure: bytes in, values out, no I/O, no clock, no goroutines.
//
// The grammar is written out in PROTOCOL.md beside this file; each production
// names the function that carries it out.
package wire
