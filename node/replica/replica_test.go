package replica

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"herd/node/store"
	"herd/node/wire"
)

const ourEpoch, theirEpoch = 100, 200

// newReplica is A with its neighbours B and C, both down.
func newReplica(maxClients int) *Replica {
	return New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B", "C"}, Hash: 7}, Epoch: ourEpoch, MaxClients: maxClients})
}

// newConnected is newReplica with both neighbours up.
func newConnected(maxClients int) *Replica { return bringUp(newReplica(maxClients), time.Unix(10, 0)) }

// bringUp lets all neighbours come up.
func bringUp(r *Replica, now time.Time) *Replica {
	for e := range r.edges {
		r.HandleHeartbeat(e, heartbeatOf(theirEpoch, 0), now)
	}
	return r
}

func heartbeatOf(epoch, seq uint64) wire.Heartbeat {
	return wire.Heartbeat{Epoch: epoch, Seq: seq, Format: wire.Format, Topology: 7, NoRepair: true}
}

// mustParse parses a record.
func mustParse(t testing.TB, line string) wire.Record {
	t.Helper()
	rec, err := wire.ParseRecord([]byte(line))
	if err != nil {
		t.Fatalf("ParseRecord(%q): %v", line, err)
	}
	return rec
}

func sortedLines(m *store.Map) []string { return slices.Sorted(m.Lines()) }

// report merges a client's report that arrives at a time in Unix seconds, and returns the
// reply.
func report(t *testing.T, r *Replica, command string, at int64) string {
	t.Helper()
	line, _, err := r.IAmAt(nil, wire.ParseCommand([]byte(command)), time.Unix(at, 0))
	if err != nil {
		t.Fatalf("IAmAt(%q): %v", command, err)
	}
	return string(line)
}

// flush sends one frame over edge e and returns its lines: all that is queued, if it fits.
func flush(r *Replica, e int) string {
	f := r.NextFrame(e, nil)
	if f.Lines > 0 {
		r.FrameDone(e, Sent)
	}
	return string(f.Data)
}

func TestNewsGoesToAllButItsSource(t *testing.T) {
	r := newConnected(0)
	line := report(t, r, "IAMAT kiwi +1+1 50", 51)
	if want := "AT A +1.000000000 kiwi +1+1 50"; line != want {
		t.Fatalf("IAmAt = %q, want %q", line, want)
	}
	if b, c := flush(r, 0), flush(r, 1); b != line+"\n" || c != line+"\n" {
		t.Errorf("sent to B %q and to C %q, want %q", b, c, line)
	}
	stale := report(t, r, "IAMAT kiwi +2+2 49", 52)
	if want := "AT A +3.000000000 kiwi +2+2 49"; stale != want {
		t.Errorf("the reply to an older report is %q, want %q", stale, want)
	}
	if got, _ := r.Map().Get(nil, []byte("kiwi")); string(got) != line {
		t.Errorf("an older report replaced the record: %q", got)
	}

	const newer = "AT D +1.000000000 kiwi +3+3 60\n"
	in, _ := r.Frame(0, wire.Mark{}, []byte(newer+line+"\n"+newer), time.Time{})
	if in.News != 1 || in.Stale != 1 || in.Duplicates != 1 || in.Malformed != 0 {
		t.Errorf("Frame = %+v, want one each of news, stale and duplicate", in)
	}
	if b, c := flush(r, 0), flush(r, 1); b != "" || c != newer {
		t.Errorf("sent to B, the source, %q and to C %q, want nothing and %q", b, c, newer)
	}
}

// TestFrameWithMalformedLines: the other lines of the frame are merged.
func TestFrameWithMalformedLines(t *testing.T) {
	r := newReplica(0)
	frame := "\x00\xff\n\n? malformed\nAT B +1.000000000 kiwi +1+1 50\nAT B +1.000000000 emu +1+1 50" // no LF at the end
	in, events := r.Frame(0, wire.Mark{Epoch: theirEpoch, Seq: 1}, []byte(frame), time.Time{})
	if in.News != 2 || in.Malformed != 2 || string(in.LastMalformed) != "? malformed" || events != nil {
		t.Errorf("Frame = %+v, %v, want 2 news, 2 malformed and no events", in, events)
	}
}

// TestMaxClients: the limit applies to reports of new clients, not to neighbours' records.
func TestMaxClients(t *testing.T) {
	r := newReplica(1)
	report(t, r, "IAMAT kiwi +1+1 50", 51)
	if _, _, err := r.IAmAt(nil, wire.ParseCommand([]byte("IAMAT emu +1+1 50")), time.Unix(51, 0)); err != ErrTooManyClients {
		t.Errorf("IAmAt of a second client: %v, want %v", err, ErrTooManyClients)
	}
	report(t, r, "IAMAT kiwi +1+1 55", 56)
	if in, _ := r.Frame(0, wire.Mark{}, []byte("AT B +1.000000000 emu +1+1 50"), time.Time{}); in.News != 1 {
		t.Errorf("a neighbour's record was refused: %+v", in)
	}
}

// FuzzFrame: of any bytes, exactly the lines that are records are merged. The winners are
// forwarded, verbatim, to all neighbours but the source.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("AT B +1.000000000 kiwi +1+1 50\nAT B +1.000000000 kiwi +1+1 51\n\nmalformed\nAT C -0.500000000 \xff +1+1 50"))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		r := newConnected(0)
		in, _ := r.Frame(0, wire.Mark{}, frame, time.Time{})
		var want store.Map
		records := 0
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			if rec, err := wire.ParseRecord(line); err == nil {
				records++
				want.Merge(rec)
			}
		}
		if got := in.News + in.Duplicates + in.Stale; got != records {
			t.Fatalf("%d of %d records were merged", got, records)
		}
		if back := flush(r, 0); back != "" {
			t.Fatalf("sent back to the source: %q", back)
		}
		forwarded := strings.Split(strings.TrimSuffix(flush(r, 1), "\n"), "\n")
		if records == 0 {
			forwarded = nil
		}
		slices.Sort(forwarded)
		if expected := sortedLines(&want); !slices.Equal(forwarded, expected) {
			t.Fatalf("forwarded %q, want %q", forwarded, expected)
		}
	})
}
