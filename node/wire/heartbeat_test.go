package wire

import "testing"

// TestHeartbeatFormat: ParseHeartbeat reads what Append writes, and Append writes the
// documented form.
func TestHeartbeatFormat(t *testing.T) {
	for _, h := range []Heartbeat{
		{Epoch: 7, Seq: 9, Clock: Instant{1700000000, 5}, Format: 1, Topology: 0xabc},
		{Epoch: 1<<64 - 1, Seq: 1, Merged: Mark{3, 4}, Records: 1000000, Clock: Instant{1, 0}, Format: 2, Topology: 1 << 63, Answer: true, Bye: true},
	} {
		line := h.Append(nil)
		got, err := ParseHeartbeat(line)
		if err != nil || got != h {
			t.Errorf("ParseHeartbeat(%q) = %+v, %v, want %+v", line, got, err, h)
		}
	}
	const want = "epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.000000005 format=1 topology=0000000000000abc ready answer"
	h := Heartbeat{Epoch: 7, Seq: 9, Merged: Mark{3, 4}, Records: 2, Digest: 15, Clock: Instant{1, 5}, Format: 1, Topology: 0xabc, Ready: true, Answer: true}
	if got := string(h.Append(nil)); got != want {
		t.Errorf("Append = %q, want %q", got, want)
	}
}

func TestParseHeartbeatMalformed(t *testing.T) {
	for _, bad := range []string{
		"", "hello", "epoch=7",
		"epoch=7 seq=9 merged=3 records=2 digest=ff clock=1.0 format=1 topology=abc",
		"epoch=-7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=-1.0 format=1 topology=abc",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=one topology=abc",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=xyz",
	} {
		if h, err := ParseHeartbeat([]byte(bad)); err == nil {
			t.Errorf("ParseHeartbeat(%q) = %+v, want an error", bad, h)
		}
	}
	if _, err := ParseHeartbeat([]byte("epoch=7 seq=9 merged=3/4 later=x records=2 digest=ff clock=1.0 format=1 topology=abc later")); err != nil {
		t.Errorf("ParseHeartbeat with keys of a later format: %v", err)
	}
}

func FuzzParseHeartbeat(f *testing.F) {
	f.Add([]byte("epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.000000005 format=1 topology=0000000000000abc ready answer"))
	f.Fuzz(func(t *testing.T, line []byte) {
		h, err := ParseHeartbeat(line)
		if err != nil {
			return
		}
		if again, err := ParseHeartbeat(h.Append(nil)); err != nil || again != h {
			t.Fatalf("ParseHeartbeat(Append(%+v)) = %+v, %v", h, again, err)
		}
	})
}
