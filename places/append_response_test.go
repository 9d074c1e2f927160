package places_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"herd/places"
)

func TestAppendResponseQueriesSource(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	queried := false
	places.AppendResponse(ctx, nil, sourceFunc(func(ctx context.Context, q places.Query) ([]byte, error) {
		queried = true
		if q != campus || ctx.Value(key{}) != "value" {
			t.Errorf("Nearby(%v, %+v), want the context and %+v", ctx, q, campus)
		}
		return []byte("{}"), nil
	}), campus)
	if !queried {
		t.Error("AppendResponse did not query the source")
	}
}

func TestAppendResponseNewlines(t *testing.T) {
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
		if got := places.AppendResponse(t.Context(), nil, fixedSource(test.body, nil), campus); string(got) != test.want {
			t.Errorf("AppendResponse of %q = %q, want %q", test.body, got, test.want)
		}
	}
}

// The bytes of a source may be shared, so AppendResponse must not modify them.
func TestAppendResponseDoesNotModifySource(t *testing.T) {
	shared := []byte("{\n}\n\n----")
	src := sourceFunc(func(context.Context, places.Query) ([]byte, error) { return shared[:3], nil })
	got := places.AppendResponse(t.Context(), nil, src, campus)
	clear(got)
	if string(shared) != "{\n}\n\n----" {
		t.Errorf("the bytes of the source are %q, want them unchanged", shared)
	}
}

func TestAppendResponseErrors(t *testing.T) {
	const secret = "https://example.org/?key=hunter2"
	for _, test := range []struct {
		name            string
		body            string
		err             error
		status, message string
	}{
		{"places.Error", "", &places.Error{Status: "OVER_QUERY_LIMIT", Message: "the quota is used up", Err: errors.New(secret)},
			"OVER_QUERY_LIMIT", "the quota is used up"},
		{"wrapped places.Error", "", fmt.Errorf("query %s: %w", secret, &places.Error{Status: "REQUEST_DENIED", Message: "no"}),
			"REQUEST_DENIED", "no"},
		{"places.Error with a deadline as its cause", "", &places.Error{Status: "UNKNOWN_ERROR", Message: "still loading", Err: context.DeadlineExceeded},
			"UNKNOWN_ERROR", "still loading"},
		{"places.Error without a status", "", &places.Error{Message: "odd"}, "UNKNOWN_ERROR", "odd"},
		{"other error", "", errors.New("Get " + secret), "UNKNOWN_ERROR", "the places source failed"},
		{"other error with a body", "{}", errors.New(secret), "UNKNOWN_ERROR", "the places source failed"},
		{"deadline exceeded", "", fmt.Errorf("Get %s: %w", secret, context.DeadlineExceeded),
			"UNKNOWN_ERROR", "the places source did not answer in time"},
		{"cancelled", "", fmt.Errorf("Get %s: %w", secret, context.Canceled), "UNKNOWN_ERROR", "the request was cancelled"},
		{"empty body", "", nil, "UNKNOWN_ERROR", "the places source failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkErrorResponse(t, places.AppendResponse(t.Context(), nil, fixedSource(test.body, test.err), campus), test.status, test.message)
		})
	}
}

// The client gets the Body of an error unchanged, except for newlines.
func TestAppendResponseErrorBody(t *testing.T) {
	err := &places.Error{Status: "REQUEST_DENIED", Message: "no", Body: []byte("{\"status\":\n\n\"REQUEST_DENIED\"}\n")}
	want := "{\"status\":\n\"REQUEST_DENIED\"}\n\n"
	if got := places.AppendResponse(t.Context(), nil, fixedSource("", fmt.Errorf("query: %w", err)), campus); string(got) != want {
		t.Errorf("AppendResponse = %q, want %q", got, want)
	}
}

// checkErrorResponse checks that body is exactly the response for an error.
func checkErrorResponse(t *testing.T, body []byte, status, message string) {
	t.Helper()
	want := fmt.Sprintf("{\n   \"error_message\" : %q,\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : %q\n}\n\n",
		message, status)
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("AppendResponse (-want +got):\n%s", diff)
	}
	if !json.Valid(body) {
		t.Error("AppendResponse is not valid JSON")
	}
}

func TestAppendResponseWithoutSource(t *testing.T) {
	unused := sourceFunc(func(context.Context, places.Query) ([]byte, error) {
		t.Error("AppendResponse queried the source")
		return nil, nil
	})
	const zero = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n"
	for _, q := range []places.Query{
		{Lat: 1, Lon: 2, Radius: 0, Bound: 5},
		{Lat: 1, Lon: 2, Radius: 5, Bound: 0},
	} {
		if got := places.AppendResponse(t.Context(), nil, unused, q); string(got) != zero {
			t.Errorf("AppendResponse(%+v) = %s, want %s", q, got, zero)
		}
	}
	bad := campus
	bad.Lat = 91
	checkErrorResponse(t, places.AppendResponse(t.Context(), nil, unused, bad), "INVALID_REQUEST", "latitude 91 is not between -90 and 90 degrees")
}
