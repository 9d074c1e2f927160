// Package watch is the live page of a herd: an HTTP handler that serves the page's files, and what it
// shows. It knows the herd from the bus only, as a guest: it asks for the status of the servers each
// second, subscribes to their events, and follows clients. None of that runs while no page is open.
//
// page.go routes and refuses requests (guard.go), files.go serves what is in the directory page. feed.go
// collects the state of the herd, and live.go streams it to pages. clients.go streams the positions of
// clients, from hubs (hub.go) that pages with the same box share. ask.go answers single
// questions, and try.go changes the herd, where the program permits that.
package watch
