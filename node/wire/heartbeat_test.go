package wire

import "testing"

// TestHeartbeatFormat: ParseHeartbeat reads what Append writes, and Append writes the
// documented form.
func TestHeartbeatFormat(t *testing.T) {
	for _, h := range []Heartbeat{
		{Epoch: 7, Seq: 9, Clock: Instant{1700000000, 5}, Format: 1, Topology: 0xabc},
		{Epoch: 1<<64 - 1, Seq: 1, Merged: Mark{3, 4}, Records: 1000000, Clock: Instant{1, 0}, Format: 2, Topology: 1 << 63, Answer: true, Bye: true},
		{Epoch: 7, Seq: 9, Clock: Instant{1700000000, 5}, Format: 1, Clocks: Clocks{2, 3}, Unsendable: 4, NoEdge: true, NoRepair: true},
		{Epoch: 7, Clock: Instant{1700000000, 5}, Format: 1, Clocks: Clocks{0, 1}},
		{Epoch: 7, Clock: Instant{1700000000, 5}, Format: 2, Keep: 86400, Floor: 28331893},
		{Epoch: 7, Clock: Instant{1700000000, 5}, Format: 2, Keep: 1<<53 - 1, Floor: 1<<32 - 1},
	} {
		line := h.Append(nil)
		got, err := ParseHeartbeat(line)
		if err != nil || got != h {
			t.Errorf("ParseHeartbeat(%q) = %+v, %v, want %+v", line, got, err, h)
		}
	}
	const all = "epoch=1 seq=0 merged=- records=0 digest=0000000000000000 clock=0.000000000 format=1 topology=0000000000000000 clocks=1/2 unsendable=3 keep=60 floor=5 ready bye noedge norepair"
	everything := Heartbeat{Epoch: 1, Format: 1, Clocks: Clocks{1, 2}, Unsendable: 3, Keep: 60, Floor: 5, Ready: true, Bye: true, NoEdge: true, NoRepair: true}
	if got := string(everything.Append(nil)); got != all {
		t.Errorf("Append = %q, want %q", got, all)
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
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc clocks=3/2",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc clocks=3",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc clocks=-1/2",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc unsendable=-1",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc keep=1m",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc keep=-60",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc floor=4294967296",
		"epoch=7 seq=9 merged=3/4 records=2 digest=000000000000000f clock=1.0 format=1 topology=abc floor=-1",
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
