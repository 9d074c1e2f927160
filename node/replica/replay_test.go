package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// received is a record of kiwi. after is when the server received it, and client what the client's clock showed then: both in
// seconds after a fixed time.
func received(server string, after, client int64) string {
	const at = 1_700_000_000
	return fmt.Sprintf("AT %s %+d.000000000 kiwi +1+1 %d\n", server, after-client, at+client)
}

// TestReplay: of the journal's lines of a client the last one wins, whatever the ranks. It was accepted after the others, perhaps
// when they had expired. But after a crash during a compaction, an older line may stand behind a newer one. It was received earlier,
// and then the rank decides. The result is the same for any frames and any HERD_KEEP.
func TestReplay(t *testing.T) {
	keep := int64(testKeep / time.Second)
	high := received("A", 0, 50) // the client's clock is ahead
	for name, tt := range map[string]struct {
		lines []string
		want  int
	}{
		"the order of ranks":            {[]string{high, received("A", 100, 100)}, 1},
		"after an expiry":               {[]string{high, received("A", keep+1, 10)}, 1},
		"two after an expiry":           {[]string{high, received("A", keep+1, 10), received("A", keep+2, 20)}, 2},
		"received early, and late here": {[]string{high, received("B", keep-200, 10)}, 1},
		"a crash during a compaction":   {[]string{high, received("A", -5, 10)}, 0},
		"received by a clock ahead":     {[]string{high, received("B", 2*keep+900, 10), received("A", keep+300, keep+300)}, 2},
	} {
		whole := strings.Join(tt.lines, "")
		for _, frames := range [][]string{tt.lines, {whole}} {
			for _, keep := range []time.Duration{testKeep, time.Hour, 0} {
				r := New(Config{Name: "A", Epoch: 1, Keep: keep})
				for _, frame := range frames {
					if records, malformed := r.Replay([]byte(frame)); records != strings.Count(frame, "\n") || malformed != 0 {
						t.Fatalf("%d records and %d malformed lines in %q", records, malformed, frame)
					}
				}
				id, _ := r.Map().Find([]byte("kiwi"))
				if got, want := string(r.Map().Line(id))+"\n", tt.lines[tt.want]; got != want || r.Map().Len() != 1 {
					t.Errorf("%s, in %d frames, HERD_KEEP=%v: the map has %q, want %q", name, len(frames), keep, got, want)
				}
			}
		}
	}
}
