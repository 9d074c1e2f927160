package natsbus

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
)

// What is denied, to us by the broker or by us to a neighbour, is told through
// Trouble: at once, and then once a second at most for each subject, with a count.
// Under load there would be one for each message, and no loss of theirs is a
// reason to drown in ours.

const (
	denialsEvery   = time.Second
	deniedSubjects = 256 // that are told of one by one; beyond, they share an account
)

// denials is the account of what was denied, by subject.
type denials struct {
	mu sync.Mutex
	by map[string]*denial
}

type denial struct {
	what  string
	count int       // not yet told of
	told  time.Time // when there was told of some
}

// note adds one to the account.
func (d *denials) note(subject, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.by[subject]
	if a == nil && len(d.by) >= deniedSubjects {
		subject = ""
		a = d.by[subject]
	}
	if a == nil {
		a = &denial{}
		d.by[subject] = a
	}
	a.what = what
	a.count++
}

// due takes out of the account what is to be told now: what was denied, by subject.
func (d *denials) due(now time.Time) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := map[string]string{}
	for subject, a := range d.by {
		switch {
		case now.Sub(a.told) < denialsEvery:
		case a.count == 0:
			delete(d.by, subject)
		default:
			told[subject] = a.what
			if a.count > 1 {
				told[subject] += fmt.Sprintf(", %d times", a.count)
			}
			a.count, a.told = 0, now
		}
	}
	return told
}

// deny takes note of what was denied on a subject and tells of it when it is time.
func (r *run) deny(subject, what string) {
	r.denials.note(subject, what)
	r.tellDenials()
}

func (r *run) tellDenials() {
	told := r.denials.due(time.Now())
	for _, subject := range slices.Sorted(maps.Keys(told)) {
		err := fmt.Errorf("%w: %s", bus.ErrDenied, told[subject])
		if strings.HasPrefix(subject, r.cfg.Prefix.Event(r.cfg.Server, "", "")) {
			// An event that tells that events are refused would be refused.
			r.cfg.Log.Error("event not published", "subject", subject, "err", err)
			continue
		}
		r.handler.AsyncError(r.peers[subject], err)
	}
}

// violation matches what a broker says to what it refuses, and in it the subject.
var violation = regexp.MustCompile(`Permissions Violation for (Publish|Subscription)[^"]*"([^"]*)".*`)

// denied takes in that the broker refused something.
func (r *run) denied(err error) {
	match := violation.FindStringSubmatch(err.Error())
	if match == nil {
		r.deny("", err.Error())
		return
	}
	subject := match[2]
	if match[1] == "Subscription" {
		r.mu.Lock()
		r.refused[subject] = true
		r.mu.Unlock()
	}
	r.deny(subject, "the broker says "+match[0])
}

// resubscribe asks again for what the broker refused of what neighbours say.
func (r *run) resubscribe() {
	r.mu.Lock()
	refused := slices.Sorted(maps.Keys(r.refused))
	clear(r.refused)
	r.mu.Unlock()
	for _, subject := range refused {
		old := r.heard[subject]
		if old == nil {
			continue
		}
		// Whether the broker knows it is all one: we ask for it to be away.
		if err := old.Unsubscribe(); err != nil {
			r.cfg.Log.Debug("unsubscribe", "subject", subject, "err", err)
		}
		if err := r.hear(subject); err != nil {
			r.cfg.Log.Warn("subscribe", "subject", subject, "err", err)
		}
	}
}

// madeByBroker is the header of a message that shows that a broker made it, and no
// neighbour wrote it on the edge; "" for none. Whoever asks a broker for something
// names the subject of the answer. Headers that ask for a trace are what a person
// adds to follow a message.
func madeByBroker(h nats.Header) string {
	for key := range h {
		if strings.HasPrefix(key, "Nats-") && !strings.HasPrefix(key, "Nats-Trace-") {
			return key
		}
	}
	return ""
}
