package node

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"herd/bus"
	"herd/node/replica"
)

// forget makes a client unknown, and replies with the record that stands there then: a tombstone. It returns once that
// has been written for the neighbours, and is in the journal, if there is one.
func (n *Node) forget(client []byte) (record []byte, err error) {
	m := newMerging()
	m.merge(n, func(now time.Time) { record, err = n.replica.Forget(nil, client, now) })
	switch {
	case errors.Is(err, replica.ErrUnknown):
		return nil, fmt.Errorf("%w: no client %.80q", bus.ErrUnknown, client)
	case err != nil:
		return nil, fmt.Errorf("%w: client %.80q cannot be forgotten: %w", bus.ErrConflict, client, err)
	}
	return record, m.wait(n)
}

// requestedClient is the client in a request. A tool may add a line end; clients contain no white space.
func requestedClient(request []byte) (client []byte, err error) {
	if client = bytes.Trim(request, " \t\n\v\f\r"); len(client) == 0 {
		return nil, errors.New("the request is empty: it must be a client's ID")
	}
	return client, nil
}
