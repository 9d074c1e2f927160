package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// proofs is how many answers of another process, each to a message of ours, show that it
// has our name. A single message proves nothing: on a bus without keys anybody may publish
// it.
const proofs = 3

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
//
// A process that is about to give up first repeats its announcement. The other process answers
// each time with its own. Once there are enough answers (proofs), the process gives up.
type nameLease struct {
	subject string
	epoch   uint64
	log     *slog.Logger
	lost    func() // is called when another process has the name

	contested chan struct{} // somebody has answered our claim; capacity 1

	mu      sync.Mutex
	state   string
	answers map[uint64]int // of processes to which we yield, by their epochs
}

// maxContenders bounds answers.
const maxContenders = 64

func newNameLease(c Config, lost func()) *nameLease {
	return &nameLease{
		subject: c.Prefix.Name(c.Server), epoch: c.Epoch, log: c.Log, lost: lost, contested: make(chan struct{}, 1),
		state: nameClaimed, answers: map[uint64]int{},
	}
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
	if err := nc.PublishRequest(l.subject, inbox.Subject, l.announcement()); err != nil {
		return err
	}
	answers := 0
	unanswered := time.NewTimer(claimTimeout)
	defer unanswered.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-lost:
			return errLost
		case m := <-alone:
			if !noResponders(m) {
				continue
			}
		case <-l.contested: // it is to answer again
			if answers++; answers < proofs {
				unanswered.Reset(claimTimeout)
			}
			continue
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
	if err := nc.Publish(l.subject, l.announcement()); err != nil {
		l.log.Debug("name not announced", "err", err)
	}
}

// announcement is what we publish about the name: our state and our epoch.
func (l *nameLease) announcement() []byte {
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
	if l.yields(theirs, epoch) {
		l.lost()
		return
	}
	l.announce(nc)
}

// yields notes the announcement of another process and reports whether we must give up the name.
func (l *nameLease) yields(theirs string, epoch uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !(theirs == nameHeld && l.state == nameClaimed) && !(theirs == l.state && epoch < l.epoch) {
		return false
	}
	signal(l.contested)
	if len(l.answers) >= maxContenders {
		clear(l.answers)
	}
	l.answers[epoch]++
	return l.answers[epoch] >= proofs
}
