// Package wire is the grammar of the herd: the commands of clients, the records that
// servers store and flood, the messages between neighbours, and the rule by which one
// record wins over another. It is pure: bytes in, values out, no I/O, no clock, no
// goroutines.
//
// PROTOCOL.md beside this file has the whole grammar. Each production there names the
// function that implements it.
package wire
