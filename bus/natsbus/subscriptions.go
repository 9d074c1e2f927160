package natsbus

import (
	"fmt"
	"strings"

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

// resubscribe subscribes again to what the broker refused, for permissions, of what
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

// republish tries again what the broker refused to publish and what nobody has tried
// since, for records and requests may not be due for long. On the edges it sends an empty
// message, which neighbours ignore (reader.receiveOne). Other subjects, such as those of
// events and replies, are forgotten: the next refusal brings them back.
func (c *connection) republish() {
	edges, name := c.edges.Load(), c.cfg.Prefix.Name(c.cfg.Server)
	for _, subject := range c.problems.refusedPublishing() {
		r := refusal{true, subject}
		switch {
		case subject == name: // announce publishes it
			c.problems.try(r)
		case edges.peers[subject] == "":
			c.problems.forget(r)
		case !strings.HasPrefix(subject, c.heartbeats()): // those are sent each second
			c.problems.try(r)
			if err := c.nc.Publish(subject, nil); err != nil {
				c.cfg.Log.Debug("not published", "subject", subject, "err", err)
			}
		}
	}
}
