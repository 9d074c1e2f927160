package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// claimTimeout is how long another process with our name has to answer a claim. We wait
// that long only if the subject has another subscriber, such as an operator's tap. If it
// has none, the broker says so at once.
const claimTimeout = 250 * time.Millisecond

// The states of a process towards the name of its server, and the first word of what it
// publishes about it.
const (
	nameClaimed = "claim"
	nameHeld    = "held"
)

// nameLease makes sure that only one process has a server's name. Processes publish on
// one subject: "claim <epoch>" to get the name, "held <epoch>" while they have it. The
// holder answers a claim with its "held", and the claimant gives up. If two processes
// claim at the same time, the one with the greater epoch gives up: it started later. The
// same rule applies when two processes hold the name after a partition between brokers.
// Nothing tells them when the partition heals, so a holder publishes "held" regularly.
type nameLease struct {
	subject string
	epoch   uint64
	log     *slog.Logger
	lost    func() // is called when another process has the name

	mu    sync.Mutex
	state string
}

func newNameLease(c Config, lost func()) *nameLease {
	return &nameLease{subject: c.Prefix.Name(c.Server), epoch: c.Epoch, log: c.Log, lost: lost, state: nameClaimed}
}

// acquire returns nil once the name is ours, on a new connection. If it was ours on an
// earlier connection, it still is: we announce that, and a process that has acquired it
// meanwhile answers. acquire returns an error when the connection is lost, and the cause of
// ctx when that ends.
func (l *nameLease) acquire(ctx context.Context, nc *nats.Conn, lost <-chan struct{}) error {
	if _, err := nc.Subscribe(l.subject, func(m *nats.Msg) { l.contender(nc, m) }); err != nil {
		return err
	}
	if l.held() {
		l.announce(nc)
		return nil
	}
	// The inbox has one token more than those of tools: rules that let servers
	// answer tools do not cover it.
	alone := make(chan *nats.Msg, 1) // receives the broker's answer that there is no other subscriber
	inbox, err := nc.ChanSubscribe(nc.NewInbox()+".claim", alone)
	if err != nil {
		return err
	}
	if err := nc.PublishRequest(l.subject, inbox.Subject, l.word()); err != nil {
		return err
	}
	unanswered := time.NewTimer(claimTimeout)
	defer unanswered.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-lost:
			return errLost
		case m := <-alone:
			if m.Header.Get("Status") != "503" { // no responders
				continue
			}
		case <-unanswered.C:
		}
		l.hold()
		return inbox.Unsubscribe()
	}
}

// hold notes that the name is ours.
func (l *nameLease) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = nameHeld
}

func (l *nameLease) held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == nameHeld
}

// announce publishes our state.
func (l *nameLease) announce(nc *nats.Conn) {
	if err := nc.Publish(l.subject, l.word()); err != nil {
		l.log.Debug("name not announced", "err", err)
	}
}

func (l *nameLease) word() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Appendf(nil, "%s %d", l.state, l.epoch)
}

// contender handles what another process of our name publishes.
func (l *nameLease) contender(nc *nats.Conn, m *nats.Msg) {
	var theirs string
	var epoch uint64
	if _, err := fmt.Sscanf(string(m.Data), "%s %d", &theirs, &epoch); err != nil || epoch == l.epoch {
		return
	}
	l.mu.Lock()
	ours := l.state
	l.mu.Unlock()
	if theirs == nameHeld && ours == nameClaimed || theirs == ours && epoch < l.epoch {
		l.lost()
		return
	}
	l.announce(nc)
}
