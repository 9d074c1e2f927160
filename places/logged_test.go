package places_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"herd/places"
)

// Only the first failure and the recovery are logged above debug level.
func TestLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	src := &countingSource{errs: []error{nil, errRetryable, errRetryable, context.Canceled, nil, nil, context.Canceled, errRetryable}}
	l := places.NewLogged(src, slog.New(slog.NewTextHandler(&log, nil)))
	for range src.errs {
		l.Nearby(t.Context(), campus)
	}
	var got []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
		got = append(got, line)
	}
	failed, recovered := `WARN msg="places source failed" err="UNKNOWN_ERROR: try again"`, `INFO msg="places source recovered"`
	if want := []string{failed, recovered, failed}; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log %q, want %q", got, want)
	}
}
