package natsbus

import (
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// claimTimeout is how long another process of our name has to speak up. Only
// where somebody else listens on the subject, an operator's tap say, is it waited
// for; else the broker says at once that nobody is there.
const claimTimeout = 250 * time.Millisecond

// A server's name is held by one process. Those that want it meet on one subject
// and say there who they are: "claim <epoch>" by one that wants the name, "held
// <epoch>" by the one that has it. The holder answers a claim with its "held", and
// whoever wants the name gives up at that word. Of two that claim at the same
// time, and of two that find they both hold it, once a cut between them has
// healed, the greater epoch, the later start, gives up. Such a cut may be one between
// brokers, of which nobody at the brokers learns: so a holder says now and then that
// it is.
type claim struct {
	inbox string // where the broker says that nobody listens; "" before the first claim

	mu   sync.Mutex
	held bool
}

const claiming, holding = "claim", "held"

// hold says that nobody spoke up.
func (c *claim) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

func (c *claim) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return holding
	}
	return claiming
}

// announce says on the subject of our name what we are there. If nobody listens
// the broker's word for it arrives in answers.
func (r *run) announce(answers chan *nats.Msg) error {
	subject := r.cfg.Prefix.Name(r.cfg.Server)
	if r.claim.inbox == "" {
		if _, err := r.nc.Subscribe(subject, r.rival); err != nil {
			return err
		}
		// One token more than the inboxes of tools have: where an operator's own rules
		// let servers answer tools in their account, not so here.
		inbox := r.nc.NewInbox() + ".claim"
		if _, err := r.nc.ChanSubscribe(inbox, answers); err != nil {
			return err
		}
		r.claim.inbox = inbox
	}
	return r.nc.PublishRequest(subject, r.claim.inbox, fmt.Appendf(nil, "%s %d", r.claim.state(), r.cfg.Epoch))
}

// rival takes in what another process of our name says.
func (r *run) rival(m *nats.Msg) {
	var theirs string
	var epoch uint64
	if _, err := fmt.Sscanf(string(m.Data), "%s %d", &theirs, &epoch); err != nil || epoch == r.cfg.Epoch {
		return
	}
	ours := r.claim.state()
	if theirs == holding && ours == claiming || theirs == ours && epoch < r.cfg.Epoch {
		select {
		case r.taken <- struct{}{}:
		default:
		}
		return
	}
	if err := r.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Data: fmt.Appendf(nil, "%s %d", ours, r.cfg.Epoch)}); err != nil {
		r.cfg.Log.Warn("answer to a claim of our name", "err", err)
	}
}
