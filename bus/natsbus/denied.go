package natsbus

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"herd/bus"
	"herd/bus/ratenote"
)

// The broker may deny us something, or we a neighbour. AsyncError reports both: for each
// subject at once, and then at most once a second with a count.

// deny notes what was denied on a subject, and reports it when it is due.
func (r *run) deny(subject, what string) {
	r.denials.Note(subject, what, 1)
	r.reportDue()
}

// reportDenials reports what is due, each second until r.ctx ends.
func (r *run) reportDenials() {
	tick := time.NewTicker(ratenote.Interval)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			r.reportDue()
		}
	}
}

func (r *run) reportDue() {
	events := r.cfg.Prefix.Event(r.cfg.Server, "", "")
	for _, d := range r.denials.Due(time.Now()) {
		err := fmt.Errorf("%w: %v", bus.ErrDenied, d)
		if strings.HasPrefix(d.Key, events) {
			// The event of this denial would be denied.
			r.cfg.Log.Error("event not published", "subject", d.Key, "err", err)
			continue
		}
		r.handler.AsyncError(r.edges.Load().peers[d.Key], err)
	}
}

// violation matches the broker's message about what it refuses, and in it the subject.
var violation = regexp.MustCompile(`Permissions Violation for (Publish|Subscription)[^"]*"([^"]*)".*`)

// permissionDenied notes that the broker refused a message or a subscription.
func (r *run) permissionDenied(err error) {
	match := violation.FindStringSubmatch(err.Error())
	if match == nil {
		r.deny("", fmt.Sprintf("the broker says %.200q", err))
		return
	}
	subject, publish := match[2], match[1] == "Publish"
	if r.isStrangers(subject, publish) {
		r.cfg.Log.Debug("heartbeats of servers that are no neighbours are not permitted", "subject", subject)
		return
	}
	r.problems.refuse(refusal{publish, subject})
	r.deny(subject, "the broker says "+match[0])
}

// isStrangers reports whether a subject is for heartbeats of or to servers that are no
// neighbours.
func (r *run) isStrangers(subject string, publish bool) bool {
	if !publish {
		return subject == r.cfg.Prefix.Strangers(r.cfg.Server)
	}
	return strings.HasPrefix(subject, r.heartbeats()) && r.edges.Load().peers[subject] == ""
}

// heartbeats is what the subjects of our heartbeats begin with.
func (r *run) heartbeats() string {
	return strings.TrimSuffix(r.cfg.Prefix.Between(bus.Heartbeat, r.cfg.Server, "*"), "*")
}
