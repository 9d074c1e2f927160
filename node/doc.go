// Package node is one server of a herd. It answers clients over TCP, keeps the map of
// records, and floods news to its neighbours. README.md has a picture, says who owns
// what, and follows one record through the code. DESIGN.md has the costs.
//
// The packages below it: wire is the grammar, store the map, replica the state machine of
// flooding and repair, journal the log on disk, follow the requests and frames of streams to
// followers, nearest the index of clients by place, geo the distances on the Earth, status
// what operators are told, and opshttp the operators' HTTP. This package connects them to sockets, the bus, the disk
// and the clock.
package node
