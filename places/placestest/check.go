package placestest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"herd/places"
)

// Key is an API key for tests. It holds what URLs and JSON escape.
const Key = "canary+key/<&>=%7f-12345"

// Campus is a question for tests.
var Campus = places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 10_000, Bound: 5}

// Ask asks src for an answer, which it must have.
func Ask(t testing.TB, src places.Source, q places.Query) string {
	t.Helper()
	body, err := src.Nearby(t.Context(), q)
	if err != nil {
		t.Fatalf("Nearby(%+v): %v", q, err)
	}
	return string(body)
}

// Fails asks src, which must fail with a *places.Error that has status and, in its message, words; neither it nor what a
// client gets may hold Key, and its text is short enough for a log.
func Fails(t testing.TB, src places.Source, q places.Query, status, words string) *places.Error {
	t.Helper()
	return FailsWithin(t.Context(), t, src, q, status, words)
}

// FailsWithin is Fails in a context.
func FailsWithin(ctx context.Context, t testing.TB, src places.Source, q places.Query, status, words string) *places.Error {
	t.Helper()
	body, err := src.Nearby(ctx, q)
	var known *places.Error
	if !errors.As(err, &known) {
		t.Fatalf("Nearby = %.300q, %v, want a places.Error", body, err)
	}
	if known.Status != status || !strings.Contains(known.Message, words) {
		t.Errorf("Nearby: %s: %q, want %s: … %s …", known.Status, known.Message, status, words)
	}
	answer := places.Answer(ctx, nil, src, q)
	if text := known.Error() + string(known.Body) + string(answer); strings.Contains(text, Key) || strings.Contains(text, "canary") {
		t.Errorf("the key is in %q", text)
	}
	if n := len(known.Error()); n > 2000 {
		t.Errorf("%d bytes for a log: %.300s", n, known.Error())
	}
	if !json.Valid(answer) {
		t.Errorf("the client gets %q", answer)
	}
	return known
}
