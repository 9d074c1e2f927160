package natsbus

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// syncSubscriptions makes the subscriptions those of the present edges.
func (c *connection) syncSubscriptions() error {
	edges := c.edges.Load()
	for subject, s := range c.subscriptions {
		if _, wanted := edges.in[subject]; !wanted {
			c.unsubscribe(s)
			delete(c.subscriptions, subject)
		}
	}
	for _, subject := range edges.subjects {
		if c.subscriptions[subject] == nil {
			if err := c.subscribe(subject); err != nil {
				return err
			}
		}
	}
	return nil
}

// applyEdges is syncSubscriptions, and tells those who wait for it.
func (c *connection) applyEdges() {
	c.mu.Lock()
	applied := c.edgesApplied
	c.edgesApplied = nil
	c.mu.Unlock()
	err := c.syncSubscriptions()
	if err == nil {
		err = c.flush(edgesTimeout)
	}
	if err != nil { // the connection is lost, or stalled
		c.cfg.Log.Debug("subscriptions not confirmed", "err", err)
	}
	if applied != nil {
		close(applied)
	}
}

// subscribe subscribes to one subject of a neighbour.
func (c *connection) subscribe(subject string) error {
	s, err := c.nc.ChanSubscribe(subject, c.reader.messages)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", subject, err)
	}
	c.subscriptions[subject] = s
	return nil
}

// unsubscribe ends a subscription. The broker may not know it any more: that is no error
// here.
func (c *connection) unsubscribe(s *nats.Subscription) {
	if err := s.Unsubscribe(); err != nil {
		c.cfg.Log.Debug("unsubscribe", "subject", s.Subject, "err", err)
	}
}

// resubscribe subscribes anew to what the broker refused, for permissions, of what
// neighbours publish.
func (c *connection) resubscribe() {
	for _, subject := range c.problems.refusedSubscriptions() {
		old := c.subscriptions[subject]
		if old == nil {
			continue
		}
		c.problems.try(refusal{false, subject})
		c.unsubscribe(old)
		if err := c.subscribe(subject); err != nil {
			c.cfg.Log.Warn("not subscribed", "err", err)
		}
	}
}

// roomForSubscriptions reports whether the broker would take as many subscriptions as we
// have, of which it has refused some for their number, on a new connection. It does not
// say which it has refused, and limits may apply to new connections only. So another
// connection tries, that nothing depends on.
func (c *connection) roomForSubscriptions() bool {
	id, _ := c.current()
	if id == nil {
		return false
	}
	opts := append(append(c.attempt.options(), id.options...),
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
	messages := make(chan *nats.Msg, 1)
	for range c.nc.NumSubscriptions() {
		if _, err := nc.ChanSubscribe(nc.NewInbox(), messages); err != nil {
			break
		}
	}
	return nc.FlushTimeout(pollEvery) == nil && nc.LastError() == nil
}
