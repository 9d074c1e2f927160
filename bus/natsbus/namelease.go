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
	nc      *nats.Conn
	subject string
	epoch   uint64
	log     *slog.Logger
	lost    func()         // is called when another process has the name
	alone   chan *nats.Msg // receives the broker's answer that there is no other subscriber
	inbox   *nats.Subscription

	mu    sync.Mutex
	state string
}

func newNameLease(nc *nats.Conn, c Config, lost func()) *nameLease {
	return &nameLease{
		nc: nc, subject: c.Prefix.Name(c.Server), epoch: c.Epoch, log: c.Log, lost: lost,
		alone: make(chan *nats.Msg, 1), state: nameClaimed,
	}
}

// listen subscribes to what others publish about the name.
func (l *nameLease) listen() (err error) {
	if _, err = l.nc.Subscribe(l.subject, l.contender); err != nil {
		return err
	}
	// The inbox has one token more than those of tools: rules that let servers
	// answer tools do not cover it.
	l.inbox, err = l.nc.ChanSubscribe(l.nc.NewInbox()+".claim", l.alone)
	return err
}

// acquire returns nil once the name is ours. It claims it on each connection anew, and
// returns the cause of ctx when that ends.
func (l *nameLease) acquire(ctx context.Context, link *link) error {
	if err := l.listen(); err != nil {
		return err
	}
	unanswered := time.NewTimer(claimTimeout)
	unanswered.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-link.changed:
			unanswered.Stop()
			if _, up := link.current(); !up {
				continue
			}
			if err := l.nc.PublishRequest(l.subject, l.inbox.Subject, l.word()); err != nil {
				l.log.Warn("name not claimed", "err", err)
				continue // the connection is lost, or about to be
			}
			unanswered.Reset(claimTimeout)
		case m := <-l.alone:
			if m.Header.Get("Status") == "503" { // no responders
				return l.hold()
			}
		case <-unanswered.C:
			return l.hold()
		}
	}
}

// hold notes that the name is ours.
func (l *nameLease) hold() error {
	l.mu.Lock()
	l.state = nameHeld
	l.mu.Unlock()
	return l.inbox.Unsubscribe()
}

// announce publishes our state.
func (l *nameLease) announce() {
	if err := l.nc.Publish(l.subject, l.word()); err != nil {
		l.log.Debug("name not announced", "err", err)
	}
}

func (l *nameLease) word() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Appendf(nil, "%s %d", l.state, l.epoch)
}

// contender handles what another process of our name publishes.
func (l *nameLease) contender(m *nats.Msg) {
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
	l.announce()
}
