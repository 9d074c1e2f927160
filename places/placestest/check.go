package placestest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"herd/places"
)

// Key is an API key for tests. It contains characters that URLs and JSON escape.
const Key = "canary+key/<&>=%7f-12345"

// Campus is a query for tests.
var Campus = places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 10_000, Bound: 5}

// Nearby returns src's response to q. An error ends the test.
func Nearby(t testing.TB, src places.Source, q places.Query) string {
	t.Helper()
	body, err := src.Nearby(t.Context(), q)
	if err != nil {
		t.Fatalf("Nearby(%+v): %v", q, err)
	}
	return string(body)
}

// NearbyError returns src's error for q. It must be a *places.Error with that status, and its message must contain text.
// Neither the error nor the response for the client may contain Key, and the error must be short enough for a log.
func NearbyError(t testing.TB, src places.Source, q places.Query, status, text string) *places.Error {
	t.Helper()
	body, err := src.Nearby(t.Context(), q)
	var e *places.Error
	if !errors.As(err, &e) {
		t.Fatalf("Nearby = %.300q, %v, want a places.Error", body, err)
	}
	if e.Status != status || !strings.Contains(e.Message, text) {
		t.Errorf("Nearby: %s: %q, want %s: … %s …", e.Status, e.Message, status, text)
	}
	response := places.AppendResponse(t.Context(), nil, src, q)
	if all := e.Error() + string(e.Body) + string(response); strings.Contains(all, Key) || strings.Contains(all, "canary") {
		t.Errorf("the key is in %q", all)
	}
	if n := len(e.Error()); n > 2000 {
		t.Errorf("the error has %d bytes, too long for a log: %.300s", n, e.Error())
	}
	if !json.Valid(response) {
		t.Errorf("the response for the client is not valid JSON: %q", response)
	}
	return e
}
