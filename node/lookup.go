package node

import (
	"context"
	"time"

	"herd/node/wire"
	"herd/places"
)

const (
	// whatsAtTimeout is how long a WHATSAT may take, and readyTimeout how long of that it
	// waits for the server to get ready.
	whatsAtTimeout = 10 * time.Second
	readyTimeout   = 5 * time.Second
)

// whatsAt appends the reply to a WHATSAT, whose line is given too.
func (n *Node) whatsAt(ctx context.Context, out []byte, c wire.Command, line []byte) []byte {
	began := time.Now()
	wait(ctx, n.ready.opened, readyTimeout)
	stored, ok := n.Record(c.Client)
	if !ok {
		return wire.AppendInvalid(out, line)
	}
	record, err := wire.ParseRecord(stored)
	if err != nil {
		panic("the map holds a line that is not a record: " + string(stored)) // only parsed records are stored
	}
	lat, lon := record.Position()
	q := places.Query{Lat: lat, Lon: lon, Radius: c.Radius * 1000, Bound: c.Bound}
	out = append(append(out, stored...), '\n')
	// A stop gives lookups some time, so it is not ctx that ends them.
	lookup, cancel := context.WithDeadline(n.lookups, began.Add(whatsAtTimeout))
	defer cancel()
	return places.AppendResponse(lookup, out, n.cfg.Places, q)
}
