package natsbus

import "github.com/nats-io/nats.go"

// A broker applies some changed limits to new connections only. While such a limit restricts
// us, a second, short connection checks whether it still applies. If it does not, we
// reconnect.

// doubted is the check of a limit that restricts us, for probe; nil if none does. payload
// says whether to check for a larger max_payload, too.
func (c *connection) doubted(payload bool) func(*nats.Conn) bool {
	switch {
	case c.problems.missing() > 0:
		return c.roomForSubscriptions
	case payload && c.nc.MaxPayload() < defaultMaxPayload:
		return c.takesMore
	}
	return nil
}

// roomForSubscriptions reports whether the broker would take as many subscriptions as we
// have, of which it has refused some for their number. It does not say which.
func (c *connection) roomForSubscriptions(nc *nats.Conn) bool {
	messages := make(chan *nats.Msg, 1)
	for range c.nc.NumSubscriptions() {
		if _, err := nc.ChanSubscribe(nc.NewInbox(), messages); err != nil {
			return false
		}
	}
	return nc.FlushTimeout(pollEvery) == nil && nc.LastError() == nil
}

// takesMore reports whether the broker takes larger messages than we know of. It does not
// announce another max_payload.
func (c *connection) takesMore(nc *nats.Conn) bool { return nc.MaxPayload() > c.nc.MaxPayload() }

// probe makes another connection to the same broker, with the same keys, and returns what
// look says of it; false if that fails. It may take as long as an attempt to connect:
// it runs in a goroutine of its own.
func (c *connection) probe(look func(*nats.Conn) bool) bool {
	opts := append(append(c.attempt.options(), c.identity.options...),
		nats.NoReconnect(),
		nats.Name(c.cfg.Prefix.Connection(c.cfg.Server)),
		nats.CustomInboxPrefix(c.cfg.Prefix.Inbox(c.cfg.Server)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // LastError says it
	)
	nc, err := open(c.url, opts)
	if err != nil {
		return false
	}
	defer nc.Close()
	return look(nc)
}
