// Package watch is the live page of a herd: an HTTP handler that serves the page's files, and what it
// shows. It knows the herd from the bus only, as a guest: it asks for the status of the servers each
// second, subscribes to their events, and follows clients. None of that runs while no page is open.
//
// # Parts
//
// page.go routes requests, guard.go refuses some, and files.go serves what is in the directory page.
//
// The state of the herd: feed.go has the pages that are open, and live.go streams to each. While there is one, the
// collector (collector.go) has a link to the bus. view.go makes a snapshot of what it has received, each second:
// of servers (serverview.go), edges (edgeview.go), and of pairs of servers (compare.go). tap.go shows records on
// their way, while there are few. messages.go is what pages are told. Package layout has the places of servers in the
// drawing.
//
// The clients on the map: hub.go follows the clients in an area, and clients.go streams them to the pages that show it.
// area.go has the areas: they are rounded, so that pages share streams.
//
// ask.go replies to single requests with JSON. try.go changes the herd, where the program has Controls.
//
// # Goroutines
//
// The collector's goroutine owns its state. A hub has a lock, which the goroutine that follows and those of the pages take
// in turn. Whatever waits for a page is bounded, and written with a deadline: livePage and clientPage say by what.
package watch
