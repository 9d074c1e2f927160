package embed

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestErrorsAreLimited: of each kind of error one per second is logged, with a count.
func TestErrorsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &logger{log: slog.New(slog.NewTextHandler(&out, nil))}
		logged := func(want ...string) {
			t.Helper()
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			out.Reset()
			if len(lines) != len(want) {
				t.Fatalf("logged %q, want %q", lines, want)
			}
			for i := range want {
				if !strings.Contains(lines[i], `level=ERROR msg="nats-server error" `+want[i]) {
					t.Errorf("logged %q, want %q", lines[i], want[i])
				}
			}
		}
		for _, client := range []string{"one", "two", "three"} {
			l.Errorf(client+" - Publish Violation - Subject %q", "x")
		}
		l.Errorf("one - Read error: %v", "y")
		logged(`text="one - Publish Violation - Subject \"x\"" count=1`, `text="one - Read error: y" count=1`)
		time.Sleep(time.Second)
		l.Errorf("two - Publish Violation - Subject %q", "x")
		logged(`text="two - Publish Violation - Subject \"x\"" count=3`)

		// The last ones are logged although none follows.
		stop := l.reportEvery(time.Second)
		l.Errorf("one - Publish Violation - Subject %q", "x")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		logged(`text="one - Publish Violation - Subject \"x\"" count=1`)
		stop()
	})
}
