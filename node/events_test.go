package node

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"herd/bus/bustest"
	"herd/bus/printable"
	"herd/node/replica"
)

// eventBus keeps the text of events.
type eventBus struct {
	Bus
	texts []string
}

func (b *eventBus) PublishEvent(_, _, text string) error {
	b.texts = append(b.texts, text)
	return nil
}

// TestEventText: the text of an event may have anything that a neighbour or the broker
// sent. What is reported of it is one printable line of bounded length.
func TestEventText(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	b := &eventBus{}
	n := New(Config{Name: "A", Neighbours: []string{"B"}, LogDir: dir, Bus: b, Log: slog.New(slog.NewTextHandler(&log, nil))})
	stop := n.traffic.start()
	n.emit([]replica.Event{
		{Kind: kindDenied, Peer: "B", Text: "denied \x1b[2J\u009b\x9b\u202e\nforged"},
		{Kind: kindDenied, Peer: "B", Text: strings.Repeat("\u2028", 500_000)},
	})
	stop()
	if len(b.texts) != 2 || !strings.HasSuffix(b.texts[0], ` A: denied \u001b[2J\u009b\x9b\u202e\nforged`) {
		t.Errorf("published %.100q", b.texts)
	}
	lines := trafficLines(t, filepath.Join(dir, "A.log"))
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `A denied B denied \u001b[2J`) {
		t.Errorf("in the traffic log: %.100q", lines)
	}
	for _, text := range append(append(b.texts, lines...), strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")...) {
		if !printable.Is(text) || len(text) > 10*maxEventText {
			t.Errorf("%d bytes: %.100q", len(text), text)
		}
	}
}

// TestEventLevels: faults are logged as warnings or errors, and their end at Info.
func TestEventLevels(t *testing.T) {
	var log bytes.Buffer
	n := New(Config{Name: "A", Neighbours: []string{"B"}, Bus: &eventBus{}, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for kind, fault := range map[replica.Kind]string{
		kindStart: "DEBUG", kindStop: "DEBUG", replica.Up: "INFO", replica.Repair: "INFO", replica.Down: "WARN", replica.Gap: "WARN",
		replica.Clock: "WARN", kindJournal: "WARN", replica.Mismatch: "ERROR", kindDenied: "ERROR",
	} {
		for recovered, level := range map[bool]string{false: fault, true: "INFO"} {
			log.Reset()
			n.emit([]replica.Event{{Kind: kind, Text: "text", Recovered: recovered}})
			if !strings.Contains(log.String(), " level="+level+" ") {
				t.Errorf("%s, recovered %v: the log has %q, want %s", kind, recovered, log.String(), level)
			}
		}
	}
}

// TestDownLevel: a neighbour that goes down is a warning, unless this server stops too.
func TestDownLevel(t *testing.T) {
	var log bytes.Buffer
	n := New(Config{
		Name: "A", Neighbours: []string{"B"}, Limits: generous, Bus: (&bustest.Network{}).Bus("A", "B"), Places: noPlaces{},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	var stop error
	for level, err := range map[string]error{"WARN": nil, "INFO": context.Canceled} {
		for _, requested := range []func() error{nil, func() error { return stop }} {
			if requested == nil && err != nil {
				continue // before Run
			}
			n.stopRequested, stop = requested, err
			log.Reset()
			n.emit([]replica.Event{{Kind: replica.Down, Peer: "B", Text: "B is down"}})
			if !strings.Contains(log.String(), "level="+level+` msg="neighbour down"`) {
				t.Errorf("stopping %v: the log has %q, want %s", err, log.String(), level)
			}
		}
	}
}
