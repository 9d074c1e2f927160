package node

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

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
