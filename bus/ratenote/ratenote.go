// Package ratenote limits how often something that repeats is reported: the first
// time at once, and from then on once a second, with the number of times.
//
//	l.Note(subject, err.Error(), 1)
//	for _, r := range l.Due(time.Now()) {
//		log.Warn("refused", "subject", r.Key, "text", r)
//	}
//
// What was noted within a second of a report waits for a later call of Due, so a
// ticker should call it, too.
package ratenote

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// Interval is the time between two reports of one key.
	Interval = time.Second
	// MaxKeys is how many keys are counted one by one; beyond them, all others are
	// counted together, under the key "".
	MaxKeys = 256
)

// Limiter counts what repeats, by key. The zero value is ready for use, by several
// goroutines at the same time.
type Limiter struct {
	mu    sync.Mutex
	notes map[string]*note
}

type note struct {
	text     string
	count    int       // since the last report
	reported time.Time // zero before the first report
}

// Report says how often a key was noted since its last report, and the last text.
type Report struct {
	Key, Text string
	Count     int
}

// String is the text, with the number of times where it is not one.
func (r Report) String() string {
	if r.Count == 1 {
		return r.Text
	}
	return fmt.Sprintf("%s, %d times", r.Text, r.Count)
}

// Note counts an event that has happened the given number of times.
func (l *Limiter) Note(key, text string, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.notes == nil {
		l.notes = map[string]*note{}
	}
	if l.notes[key] == nil && len(l.notes) >= MaxKeys {
		key = ""
	}
	n := l.notes[key]
	if n == nil {
		n = &note{}
		l.notes[key] = n
	}
	n.text = text
	n.count += times
}

// Due returns what is to be reported now, sorted by key, and counts it as reported.
func (l *Limiter) Due(now time.Time) (due []Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, n := range l.notes {
		switch {
		case now.Sub(n.reported) < Interval:
		case n.count == 0:
			delete(l.notes, key)
		default:
			due = append(due, Report{key, n.text, n.count})
			n.count, n.reported = 0, now
		}
	}
	slices.SortFunc(due, func(a, b Report) int { return cmp.Compare(a.Key, b.Key) })
	return due
}
