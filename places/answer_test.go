package places_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"herd/places"
)

// source answers with a function.
type source func(context.Context, places.Query) ([]byte, error)

func (f source) Nearby(ctx context.Context, q places.Query) ([]byte, error) { return f(ctx, q) }

func says(body string, err error) source {
	return func(context.Context, places.Query) ([]byte, error) { return []byte(body), err }
}

var campus = places.Query{Lat: 34.06893, Lon: -118.445127, Radius: 10_000, Bound: 5}

func TestAnswerPassesQuery(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "mine")
	asked := false
	places.Answer(ctx, nil, source(func(ctx context.Context, q places.Query) ([]byte, error) {
		asked = true
		if q != campus || ctx.Value(key{}) != "mine" {
			t.Errorf("Nearby(%v, %+v), want the context and %+v", ctx, q, campus)
		}
		return []byte("{}"), nil
	}), campus)
	if !asked {
		t.Error("Answer did not ask the source")
	}
}

func TestAnswerNewlines(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{"{}", "{}\n\n"},
		{"{}\n", "{}\n\n"},
		{"{}\n\n", "{}\n\n"},
		{"{}\n\n\n\n", "{}\n\n"},
		{"{\n}", "{\n}\n\n"},
		{"{\n\n}", "{\n}\n\n"},
		{"{\n\n\n\"a\" :\n\n1\n\n\n\n}\n\n\n", "{\n\"a\" :\n1\n}\n\n"},
		{"\n\n\n{}", "\n{}\n\n"},
		{"\n", "\n\n"},
	} {
		if got := places.Answer(t.Context(), nil, says(test.body, nil), campus); string(got) != test.want {
			t.Errorf("Answer of %q = %q, want %q", test.body, got, test.want)
		}
	}
}

// The source may hand the same bytes to others.
func TestAnswerCopies(t *testing.T) {
	shared := []byte("{\n}\n\n----")
	src := source(func(context.Context, places.Query) ([]byte, error) { return shared[:3], nil })
	got := places.Answer(t.Context(), nil, src, campus)
	clear(got)
	if string(shared) != "{\n}\n\n----" {
		t.Errorf("the source's bytes are now %q", shared)
	}
}

func TestAnswerFailures(t *testing.T) {
	const secret = "https://example.org/?key=hunter2"
	for _, test := range []struct {
		name            string
		body            string
		err             error
		status, message string
	}{
		{"ours", "", &places.Error{Status: "OVER_QUERY_LIMIT", Message: "the quota is spent", Err: errors.New(secret)},
			"OVER_QUERY_LIMIT", "the quota is spent"},
		{"ours, wrapped", "", fmt.Errorf("asking %s: %w", secret, &places.Error{Status: "REQUEST_DENIED", Message: "no"}),
			"REQUEST_DENIED", "no"},
		{"ours, of a deadline", "", &places.Error{Status: "UNKNOWN_ERROR", Message: "still loading", Err: context.DeadlineExceeded},
			"UNKNOWN_ERROR", "still loading"},
		{"ours, without status", "", &places.Error{Message: "odd"}, "UNKNOWN_ERROR", "odd"},
		{"unknown", "", errors.New("Get " + secret), "UNKNOWN_ERROR", "the places source failed"},
		{"unknown, with a body", "{}", errors.New(secret), "UNKNOWN_ERROR", "the places source failed"},
		{"deadline", "", fmt.Errorf("Get %s: %w", secret, context.DeadlineExceeded),
			"UNKNOWN_ERROR", "the places source did not answer in time"},
		{"cancelled", "", fmt.Errorf("Get %s: %w", secret, context.Canceled), "UNKNOWN_ERROR", "the request was cancelled"},
		{"nothing", "", nil, "UNKNOWN_ERROR", "the places source failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkFailure(t, places.Answer(t.Context(), nil, says(test.body, test.err), campus), test.status, test.message)
		})
	}
}

// TestAnswerFailureAsItCame: a service's own words reach the client as they are.
func TestAnswerFailureAsItCame(t *testing.T) {
	err := &places.Error{Status: "REQUEST_DENIED", Message: "no", Body: []byte("{\"status\":\n\n\"REQUEST_DENIED\"}\n")}
	want := "{\"status\":\n\"REQUEST_DENIED\"}\n\n"
	if got := places.Answer(t.Context(), nil, says("", fmt.Errorf("asking: %w", err)), campus); string(got) != want {
		t.Errorf("Answer = %q, want %q", got, want)
	}
}

// checkFailure wants body to be an answer without results, byte for byte.
func checkFailure(t *testing.T, body []byte, status, message string) {
	t.Helper()
	want := fmt.Sprintf("{\n   \"error_message\" : %q,\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : %q\n}\n\n",
		message, status)
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("Answer (-want +got):\n%s", diff)
	}
	if !json.Valid(body) {
		t.Error("Answer is not valid JSON")
	}
}

func TestAnswerWithoutAsking(t *testing.T) {
	never := source(func(context.Context, places.Query) ([]byte, error) {
		t.Error("Answer asked the source")
		return nil, nil
	})
	const zero = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n"
	for _, q := range []places.Query{
		{Lat: 1, Lon: 2, Radius: 0, Bound: 5},
		{Lat: 1, Lon: 2, Radius: 5, Bound: 0},
	} {
		if got := places.Answer(t.Context(), nil, never, q); string(got) != zero {
			t.Errorf("Answer(%+v) = %s, want %s", q, got, zero)
		}
	}
	bad := campus
	bad.Lat = 91
	checkFailure(t, places.Answer(t.Context(), nil, never, bad), "INVALID_REQUEST", "latitude 91 is not within 90 degrees")
}

func TestQueryCheck(t *testing.T) {
	for _, q := range []places.Query{
		{}, {Lat: 90, Lon: 180, Radius: 50_000, Bound: 20}, {Lat: -90, Lon: -180, Radius: 0.1, Bound: 1},
	} {
		if err := q.Check(); err != nil {
			t.Errorf("%+v.Check() = %v, want nil", q, err)
		}
	}
	nan := math.NaN()
	for _, q := range []places.Query{
		{Lat: 90.0001}, {Lat: -90.0001}, {Lat: nan},
		{Lon: 180.0001}, {Lon: -180.0001}, {Lon: nan},
		{Radius: -1}, {Radius: 50_001}, {Radius: nan},
		{Bound: -1}, {Bound: 21},
	} {
		var known *places.Error
		if err := q.Check(); !errors.As(err, &known) || known.Status != "INVALID_REQUEST" {
			t.Errorf("%+v.Check() = %v, want INVALID_REQUEST", q, err)
		}
	}
}

func TestError(t *testing.T) {
	cause := errors.New("dial tcp: refused")
	err := &places.Error{Status: "UNKNOWN_ERROR", Message: "no answer", Err: cause}
	if want := "UNKNOWN_ERROR: no answer: dial tcp: refused"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err.Error(), want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not wrapped")
	}
	err.Err = nil
	if want := "UNKNOWN_ERROR: no answer"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err.Error(), want)
	}
}
