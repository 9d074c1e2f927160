package node

import (
	"runtime"
	"time"
)

// turns limits how many sessions work at the same time for clients that send faster than
// they are served: one less than there are processors. It is a semaphore, and serves first
// those who wait longest. All servers of a process share it, as they share the processors.
//
// Reads and writes of such a session never block, so it would run until the runtime
// preempts it. Yielding would not be enough: while any goroutine can run, the runtime looks
// only each 10 ms whether other connections have input. A processor is left for them, and
// for all that is not a session.
var turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))

const (
	// turn is the number of lines that are handled in one turn, at most, and without any after
	// a read that had to wait.
	turn = 256
	// readWork is how many lines a read counts as.
	readWork = 16
	// waitTakes is how long a read of TLS takes at least if it had to wait for input.
	waitTakes = 20 * time.Microsecond
)

// takeTurn waits until the session may work. The session returns the turn before it waits
// for anything that takes long.
func (s *session) takeTurn() {
	if !s.myTurn {
		turns <- struct{}{}
		s.myTurn = true
	}
}

// endTurn returns the session's turn, if it has one.
func (s *session) endTurn() {
	if s.myTurn {
		<-turns
		s.myTurn = false
	}
}
