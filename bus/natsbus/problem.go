package natsbus

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/plural"
)

// minPayload is the least max_payload of a broker with which a server can do all its work.
// Of the messages that cannot be made smaller, the largest is one of a comparison of maps:
// its header of 14 bytes, and the 2,049 of the digests of a group (wire.SyncHeaderSize and
// wire.GroupSize, which this package may not import; TestMinPayload compares).
const minPayload = 14 + 2049 + maxHeader

// problems is what keeps the bus from being used in full. Problem reads it.
type problems struct {
	mu         sync.Mutex
	connect    map[string]string // why there is no lasting connection, by the broker's URL
	broker     string            // URL of the last connection, redacted
	noHeaders  bool              // that broker has no headers
	maxPayload int64             // of that broker
	unheld     int               // subscriptions that it refused for their number
	refused    map[refusal]stage // what it refused for permissions, and may still refuse

	// publishing is whether refused has any that publishes, so that Send must tell.
	publishing atomic.Bool
}

// refusal is what a broker refused: to publish on a subject, or to subscribe to it.
type refusal struct {
	publish bool
	subject string
}

// stage is how far a refusal has been tried again. There is no acknowledgement for what
// a broker permits, so silence has to do: if the broker has seen another try and has not
// refused it by a second later, the refusal is over.
type stage uint8

const (
	standing stage = iota // since it was refused, it has not been tried
	tried
	passed // tried, and the broker has answered a ping since
)

func newProblems() *problems {
	return &problems{connect: map[string]string{}, refused: map[refusal]stage{}}
}

// connectFailed notes why an attempt to connect to a broker failed, or why its connections
// do not last; "" for no reason that the broker's configuration, or ours, would be.
func (p *problems) connectFailed(url, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why == "" {
		delete(p.connect, url)
	} else {
		p.connect[url] = why
	}
}

// connected notes a new connection, on which nothing has been refused yet.
func (p *problems) connected(broker string, headers bool, maxPayload int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broker, p.noHeaders, p.maxPayload, p.unheld = broker, !headers, maxPayload, 0
	clear(p.refused)
	p.publishing.Store(false)
}

// lasts notes that the present connection lasts.
func (p *problems) lasts() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.connect)
}

func (p *problems) setMaxPayload(limit int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxPayload = limit
}

// tooMany notes a subscription that was refused for their number.
func (p *problems) tooMany() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unheld++
}

// missing is how many subscriptions were refused for their number.
func (p *problems) missing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unheld
}

// refuse notes a refusal.
func (p *problems) refuse(r refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[r] = standing
	if r.publish {
		p.publishing.Store(true)
	}
}

// try notes that what was refused has been tried again.
func (p *problems) try(r refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stage, known := p.refused[r]; known && stage == standing {
		p.refused[r] = tried
	}
}

// refusedSubscriptions are the subjects that have not been subscribed to again since they
// were refused.
func (p *problems) refusedSubscriptions() (subjects []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, stage := range p.refused {
		if !r.publish && stage == standing {
			subjects = append(subjects, r.subject)
		}
	}
	slices.Sort(subjects)
	return subjects
}

// refusedPublishing are the subjects on which nothing has been published again since that
// was refused.
func (p *problems) refusedPublishing() (subjects []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, stage := range p.refused {
		if r.publish && stage == standing {
			subjects = append(subjects, r.subject)
		}
	}
	slices.Sort(subjects)
	return subjects
}

// forget ends a refusal that nobody will try again.
func (p *problems) forget(r refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.refused, r)
}

// settle ends the refusals that have passed, and makes those that were tried pass if ping
// succeeds. It is to be called once a second.
func (p *problems) settle(ping func() error) {
	p.mu.Lock()
	trying := map[refusal]bool{}
	for r, stage := range p.refused {
		switch stage {
		case tried:
			trying[r] = true
		case passed:
			delete(p.refused, r)
		}
	}
	p.publishing.Store(slices.ContainsFunc(slices.Collect(maps.Keys(p.refused)), func(r refusal) bool { return r.publish }))
	p.mu.Unlock()
	if len(trying) == 0 || ping() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range trying {
		if p.refused[r] == tried { // not refused again
			p.refused[r] = passed
		}
	}
}

// noPermission is a problem that concerns single subjects. It is a bus.ErrDenied.
type noPermission string

func (p noPermission) Error() string { return string(p) }

func (p noPermission) Is(target error) bool { return target == bus.ErrDenied }

// Problem is nil, or the reason why the bus cannot be used in full at present, in one line
// that says what to do. It is a bus.ErrDenied if it is about permissions for single subjects. A
// broker that cannot be reached is no problem in this sense. It does not block, and may be
// called by several goroutines.
func (b *Bus) Problem() error {
	edges, p := b.edges.Load(), b.problems
	p.mu.Lock()
	defer p.mu.Unlock()
	var published, subscribed []string
	for r := range p.refused {
		switch {
		case edges.peers[r.subject] == "" && r.subject != b.cfg.Prefix.Name(b.cfg.Server):
		case r.publish:
			published = append(published, r.subject)
		default:
			subscribed = append(subscribed, r.subject)
		}
	}
	const hint = "check that the key is this server's own, and that the broker's configuration was written for the present topology (herd bus-config)"
	switch {
	case len(p.connect) > 0:
		urls := slices.Sorted(maps.Keys(p.connect))
		return fmt.Errorf("NATS broker %s %s", bus.RedactURL(urls[0]), p.connect[urls[0]])
	case p.unheld > 0:
		return fmt.Errorf("NATS broker %s refuses %d of this server's subscriptions for their number: raise its max_subscriptions, or the account's limit", p.broker, p.unheld)
	case len(subscribed) > 0:
		return noPermission(fmt.Sprintf("NATS broker %s refuses %d of this server's subscriptions, such as %s: %s", p.broker, len(subscribed), slices.Min(subscribed), hint))
	case len(published) > 0:
		return noPermission(fmt.Sprintf("NATS broker %s refuses what this server publishes on %s, such as %s: %s", p.broker, plural.Count(len(published), "subject"), slices.Min(published), hint))
	case p.noHeaders:
		return fmt.Errorf("NATS broker %s has no support for message headers: %s", p.broker, headersHint)
	case p.maxPayload > 0 && p.maxPayload < minPayload:
		return fmt.Errorf("NATS broker %s has a max_payload of %d bytes, too small for comparisons of maps, which need %d, and for large records: raise it to 1048576", p.broker, p.maxPayload, minPayload)
	}
	return nil
}

const headersHint = "remove no_header_support from its configuration; until then records reach neighbours by repair only, seconds late"

// limits says in words why a broker refuses or ends a connection, by what its error
// contains in lower case.
var limits = []struct{ text, why string }{
	{nats.MAX_CONNECTIONS_ERR, "accepts no more connections: raise its max_connections"},
	{nats.MAX_ACCOUNT_CONNECTIONS_ERR, "accepts no more connections of this account: raise the account's limit"},
	{"maximum control line exceeded", "has a max_control_line that is too small for a server's commands: raise it to 4096"},
	{"maximum subscriptions exceeded", "allows too few subscriptions: raise its max_subscriptions, or the account's limit"},
}

// reason says in words why a broker refuses or ends a connection where its configuration
// is the reason, or ours; "" for other errors.
func reason(err error) string {
	if err == nil {
		return ""
	}
	for _, l := range limits {
		if strings.Contains(strings.ToLower(err.Error()), l.text) {
			return l.why
		}
	}
	switch {
	case errors.Is(err, nats.ErrNkeysNotSupported):
		return "knows no keys, and this server has one: add the keys to its configuration (herd bus-config), or unset the key"
	case unauthorized(err):
		return fmt.Sprintf("does not accept this server's key or password (%v): check that the broker's configuration has it", err)
	case accessDenied(err):
		return fmt.Sprintf("and this server do not accept each other's certificates (%v)", err)
	}
	return ""
}
