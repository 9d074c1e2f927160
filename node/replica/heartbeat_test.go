package replica

import (
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/wire"
)

// TestEdgeTransitions takes one edge through its states. Each step is a heartbeat or a
// tick, with the kinds of events that it causes and whether it wants a heartbeat back.
func TestEdgeTransitions(t *testing.T) {
	start := time.Unix(1000, 0)
	otherTopology := heartbeatOf(theirEpoch+1, 0)
	otherTopology.Topology = 8
	thirdTopology := otherTopology
	thirdTopology.Topology = 9
	restarted := otherTopology
	restarted.Epoch++
	noEdge := heartbeatOf(theirEpoch+2, 0)
	noEdge.NoEdge = true
	otherFormat := heartbeatOf(theirEpoch+2, 0)
	otherFormat.Format = wire.Format + 1
	bye := heartbeatOf(theirEpoch+3, 4)
	bye.Bye = true
	overtaken := heartbeatOf(theirEpoch+3, 4)
	request := heartbeatOf(theirEpoch, 0)
	request.Answer = true
	steps := []struct {
		name      string
		at        time.Duration
		heartbeat *wire.Heartbeat
		want      string // kinds of events
		reply     bool
	}{
		{"first heartbeat", 0, ptr(heartbeatOf(theirEpoch, 0)), "up", true},
		{"second heartbeat", time.Second, ptr(heartbeatOf(theirEpoch, 0)), "", false},
		{"requests a reply", time.Second, &request, "", true},
		{"silent for less than DownAfter", 3999 * time.Millisecond, nil, "", false},
		{"silent for DownAfter", 4 * time.Second, nil, "down", false},
		{"still silent", 9 * time.Second, nil, "", false},
		{"up again, same epoch", 10 * time.Second, ptr(heartbeatOf(theirEpoch, 2)), "gap up", true},
		{"restarted with another topology", 11 * time.Second, &otherTopology, "mismatch down up", true},
		{"the same difference", 12 * time.Second, &otherTopology, "", false},
		{"the same difference in a new epoch", 12 * time.Second, &restarted, "down up", true},
		{"another difference", 12 * time.Second, &thirdTopology, "mismatch down up", true},
		{"no edge", 12 * time.Second, &noEdge, "down mismatch", false},
		{"no edge again", 12 * time.Second, &noEdge, "", false},
		{"other format", 12 * time.Second, &otherFormat, "mismatch", false},
		{"no difference", 13 * time.Second, ptr(heartbeatOf(theirEpoch+2, 0)), "up", true},
		{"NATS disconnected", 13 * time.Second, nil, "down", false},
		{"up after NATS reconnected", 13 * time.Second, ptr(heartbeatOf(theirEpoch+2, 0)), "up", true},
		{"restarted within DownAfter", 14 * time.Second, ptr(heartbeatOf(theirEpoch+3, 0)), "down up", true},
		{"announces messages that were lost", 15 * time.Second, ptr(heartbeatOf(theirEpoch+3, 4)), "gap", false},
		{"goodbye", 16 * time.Second, &bye, "down", false},
		{"heartbeat overtaken by the goodbye", 17 * time.Second, &overtaken, "", false},
		{"silent after the goodbye", 30 * time.Second, nil, "", false},
		{"up again", 31 * time.Second, ptr(heartbeatOf(theirEpoch+3, 4)), "up", true},
		{"a goodbye that is not the neighbour's", 32 * time.Second, &bye, "down", false},
		{"its next heartbeat", 33 * time.Second, ptr(heartbeatOf(theirEpoch+3, 4)), "up", true},
	}
	r := newReplica(0)
	for _, s := range steps {
		var events []Event
		var reply bool
		if s.name == "NATS disconnected" {
			events = r.Disconnected()
		} else if s.heartbeat != nil {
			if s.heartbeat.Clock = wire.InstantOf(start.Add(s.at)); s.heartbeat == &overtaken {
				s.heartbeat.Clock = bye.Clock // sent before the goodbye
			}
			events, reply = r.HandleHeartbeat(0, *s.heartbeat, start.Add(s.at))
		} else {
			events = r.Tick(start.Add(s.at))
		}
		var kinds []string
		for _, e := range events {
			kinds = append(kinds, string(e.Kind))
			if e.Peer != "B" || e.Text == "" || strings.Contains(e.Text, "\n") {
				t.Errorf("%s: event %+v, want one line about B", s.name, e)
			}
		}
		if got := strings.Join(kinds, " "); got != s.want || reply != s.reply {
			t.Errorf("%s: events %q, reply %v, want %q, %v", s.name, got, reply, s.want, s.reply)
		}
	}
}

func ptr(b wire.Heartbeat) *wire.Heartbeat { return &b }

// TestGaps: sequence numbers of frames and heartbeats show which messages were lost.
func TestGaps(t *testing.T) {
	r := newReplica(0)
	steps := []struct {
		mark      wire.Mark
		heartbeat bool // announces mark; else a frame has it
		lost      string
	}{
		{wire.Mark{Epoch: theirEpoch, Seq: 7}, false, ""}, // first contact
		{wire.Mark{Epoch: theirEpoch, Seq: 8}, false, ""},
		{wire.Mark{Epoch: theirEpoch, Seq: 8}, true, ""},
		{wire.Mark{Epoch: theirEpoch, Seq: 8}, false, ""}, // delivered twice
		{wire.Mark{Epoch: theirEpoch, Seq: 11}, false, "2 messages of B were lost, the last before number 11"},
		{wire.Mark{Epoch: theirEpoch, Seq: 9}, false, ""}, // out of order
		{wire.Mark{Epoch: theirEpoch, Seq: 12}, true, "1 message of B was lost, the last before number 12"},
		{wire.Mark{Epoch: theirEpoch + 1, Seq: 3}, false, ""},
		{wire.Mark{}, false, ""}, // without headers: cannot show a gap
		{wire.Mark{Epoch: theirEpoch + 1, Seq: 4}, false, ""},
	}
	for i, s := range steps {
		var events []Event
		now := time.Unix(1000+int64(i), 0)
		if s.heartbeat {
			events, _ = r.HandleHeartbeat(0, heartbeatOf(s.mark.Epoch, s.mark.Seq), now)
		} else {
			_, events = r.Frame(0, s.mark, nil, now)
		}
		lost := ""
		for _, e := range events {
			if e.Kind == Gap {
				lost = e.Text
			}
		}
		if lost != s.lost {
			t.Errorf("step %d, %+v: gap %q, want %q", i, s.mark, lost, s.lost)
		}
	}
}

// TestGapReportsAreLimited: losses are reported once a second. No loss is left out.
func TestGapReportsAreLimited(t *testing.T) {
	r := newReplica(0)
	now := time.Unix(1000, 0)
	var reports []string
	note := func(events []Event) {
		for _, e := range events {
			reports = append(reports, e.Text)
		}
	}
	for i := range uint64(100) { // every second message is lost
		_, events := r.Frame(0, wire.Mark{Epoch: theirEpoch, Seq: 2*i + 1}, nil, now)
		note(events)
	}
	note(r.Tick(now.Add(time.Second)))
	note(r.Tick(now.Add(2 * time.Second)))
	want := []string{"1 message of B was lost, the last before number 3", "98 messages of B were lost, the last before number 199"}
	if !slices.Equal(reports, want) {
		t.Errorf("reported %q, want %q", reports, want)
	}
}
