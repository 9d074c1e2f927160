package main

import (
	"context"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
)

const (
	// askTimeout is how long the replies of all servers may take, the connection included. The
	// link to the broker may be slow.
	askTimeout = 5 * time.Second
	// replyTimeout is how long the other servers have once one has replied, or as long as
	// that took, if this is longer.
	replyTimeout = time.Second
	// pollEvery is the time between two requests while a command waits for something.
	pollEvery = 100 * time.Millisecond
)

// askAll sends a request to all servers on the bus of cfg and calls take with each reply, until take says that
// no more are needed, replyTimeout after the first reply that counts, or after timeout.
func askAll(ctx context.Context, cfg natsbus.Config, e bus.Endpoint, data []byte, timeout time.Duration, take func(natsbus.Reply) (counts, more bool)) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	first := true
	return natsbus.Ask(ctx, cfg, e, data, func(r natsbus.Reply) bool {
		counts, more := take(r)
		if counts && first {
			first = false
			time.AfterFunc(max(replyTimeout, time.Since(began)), cancel)
		}
		return more
	})
}
