package watch

import (
	"strings"
	"time"

	"herd/bus/printable"
)

// parseEvent parses an event; subject is "<server>.<kind>[.<peer>]".
func parseEvent(subject string, m received) (e herdEvent, ok bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 2 || len(tokens) > 3 {
		return e, false
	}
	e = herdEvent{At: m.at.UnixMilli(), Server: tokens[0], Kind: tokens[1], Text: printable.Clip(string(m.data), maxEventText)}
	if len(tokens) == 3 {
		e.Peer = tokens[2]
	}
	stamp, text, found := strings.Cut(e.Text, " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil && found {
		e.At, e.Text = at.UnixMilli(), strings.TrimPrefix(text, e.Server+": ")
	}
	return e, true
}

// maxEventText is how many bytes of an event's text are shown.
const maxEventText = 1000
