package google_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"herd/places"
	"herd/places/google"
	"herd/places/placestest"
)

func source(s *placestest.Server, path string) *google.Source {
	return google.New(google.Config{Base: s.URL.JoinPath(path), Key: placestest.Key, Agent: "herd/test"})
}

// The response is the API's own, byte for byte, except for results beyond the bound.
func TestResponseBytes(t *testing.T) {
	t.Parallel()
	for _, layout := range []placestest.Layout{placestest.CompactArrays, placestest.ExpandedArrays} {
		s := placestest.Google(t, placestest.Key, layout)
		src := source(s, "")
		for _, bound := range []int{1, 5, 19, 20} {
			q := placestest.Campus
			q.Bound = bound
			want := placestest.GoogleResponse(layout, "34.06893", "-118.445127", bound)
			if got := placestest.Nearby(t, src, q); got != want {
				t.Errorf("layout %d, bound %d: got\n%s\nwant\n%s", layout, bound, got, want)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
	for _, tt := range []struct {
		q    places.Query
		want url.Values
	}{
		{placestest.Campus, url.Values{"location": {"34.06893,-118.445127"}, "radius": {"10000"}}},
		{places.Query{Lat: 0, Lon: -180, Radius: 1.001 * 1000, Bound: 1}, url.Values{"location": {"0,-180"}, "radius": {"1001"}}},
		{places.Query{Lat: 1e-7, Radius: 1e-9, Bound: 1}, url.Values{"location": {"0.0000001,0"}, "radius": {"0.001"}}},
	} {
		placestest.Nearby(t, source(s, ""), tt.q)
		r := s.LastRequest(t)
		tt.want.Set("key", placestest.Key)
		if r.Form.Encode() != tt.want.Encode() || r.Header.Get("User-Agent") != "herd/test" {
			t.Errorf("%+v: request %v with User-Agent %q, want %v", tt.q, r.Form, r.Header.Get("User-Agent"), tt.want)
		}
	}
	// The base URL may contain the path or the beginning of it.
	for _, base := range []string{"/", "/maps/api", "/maps/api/place/nearbysearch/json"} {
		placestest.Nearby(t, source(s, base), placestest.Campus)
	}
}

// Requests reuse the connection, also after an error.
func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
	src := source(s, "")
	s.OverrideNext(nil, placestest.Respond(500, strings.Repeat("x", 1<<20)), placestest.Respond(200, "{}"), placestest.Gzip)
	for range 5 {
		src.Nearby(t.Context(), placestest.Campus)
	}
	remotes := map[string]bool{}
	for _, r := range s.Requests() {
		remotes[r.RemoteAddr] = true
	}
	if len(s.Requests()) != 5 || len(remotes) != 1 {
		t.Errorf("%d requests over %d connections, want 5 over 1", len(s.Requests()), len(remotes))
	}
}

// Error responses and malformed responses, from the API or a proxy.
func TestErrors(t *testing.T) {
	t.Parallel()
	untilMidnight := time.Until(google.NextMidnight(time.Now())) - time.Minute
	retryTime := time.Now().Add(40 * time.Minute).UTC().Format(http.TimeFormat)
	valid := placestest.GoogleResponse(placestest.ExpandedArrays, "1", "2", 3)
	result := `{"name": "x"}`
	tests := []struct {
		name         string
		override     placestest.Override
		status, text string
		hasBody      bool // the error has the API's own body
		retryable    bool
		low, high    time.Duration // RetryAfter
	}{
		{"denied", placestest.Respond(200, placestest.GoogleError("REQUEST_DENIED", placestest.GoogleBadKey)), "REQUEST_DENIED", placestest.GoogleBadKey, true, false, 0, 0},
		{"invalid", placestest.Respond(200, placestest.GoogleError("INVALID_REQUEST", "")), "INVALID_REQUEST", "returned status INVALID_REQUEST", true, false, 0, 0},
		{"unknown", placestest.Respond(200, placestest.GoogleError("UNKNOWN_ERROR", "")), "UNKNOWN_ERROR", "", true, true, 0, 0},
		{"unlisted status", placestest.Respond(200, placestest.GoogleError("DATA_NOT_AVAILABLE", "no")), "DATA_NOT_AVAILABLE", "no", true, false, 0, 0},
		{"rate limit", placestest.Respond(200, placestest.GoogleError("OVER_QUERY_LIMIT", placestest.GoogleRateLimit)), "OVER_QUERY_LIMIT", placestest.GoogleRateLimit, true, false, time.Minute, time.Minute},
		{"quota without message", placestest.Respond(200, placestest.GoogleError("OVER_QUERY_LIMIT", "")), "OVER_QUERY_LIMIT", "", true, false, time.Minute, time.Minute},
		{"daily quota", placestest.Respond(200, placestest.GoogleError("OVER_QUERY_LIMIT", placestest.GoogleDailyQuota)), "OVER_QUERY_LIMIT", "daily", true, false, untilMidnight, 25 * time.Hour},
		{"OVER_DAILY_LIMIT", placestest.Respond(200, placestest.GoogleError("OVER_DAILY_LIMIT", "")), "OVER_DAILY_LIMIT", "", true, false, untilMidnight, 25 * time.Hour},
		{"API error with HTTP 403", placestest.Respond(403, placestest.GoogleError("REQUEST_DENIED", "no")), "REQUEST_DENIED", "no", true, false, 0, 0},

		{"401", placestest.Respond(401, "<html>"), "REQUEST_DENIED", "HTTP 401 Unauthorized", false, false, 0, 0},
		{"400", placestest.Respond(400, "<html>"), "INVALID_REQUEST", "HTTP 400", false, false, 0, 0},
		{"404", placestest.Respond(404, ""), "UNKNOWN_ERROR", "HTTP 404", false, false, 0, 0},
		{"429", placestest.Respond(429, ""), "OVER_QUERY_LIMIT", "HTTP 429", false, false, time.Minute, time.Minute},
		{"429 with seconds", placestest.Respond(429, "", "Retry-After", "1380"), "OVER_QUERY_LIMIT", "HTTP 429", false, false, 23 * time.Minute, 23 * time.Minute},
		{"429 with a date", placestest.Respond(429, "", "Retry-After", retryTime), "OVER_QUERY_LIMIT", "HTTP 429", false, false, 38 * time.Minute, 40 * time.Minute},
		{"429 with a very long time", placestest.Respond(429, "", "Retry-After", "2000000000"), "OVER_QUERY_LIMIT", "", false, false, 24 * time.Hour, 24 * time.Hour},
		{"500", placestest.Respond(500, ""), "UNKNOWN_ERROR", "HTTP 500", false, true, 0, 0},
		{"503 with results", placestest.Respond(503, valid), "UNKNOWN_ERROR", "HTTP 503", false, true, 0, 0},
		{"redirect", placestest.Respond(302, "", "Location", "/maps/api/place/nearbysearch/json?x"), "UNKNOWN_ERROR", "HTTP 302", false, false, 0, 0},

		{"not JSON", placestest.Respond(200, "<html>please log in</html>"), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"empty body", placestest.Respond(200, ""), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"null", placestest.Respond(200, "null"), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"array", placestest.Respond(200, "[]"), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"no status", placestest.Respond(200, `{"results": []}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"status of another type", placestest.Respond(200, `{"results": [], "status": 1}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"very long status", placestest.Respond(200, `{"results": [], "status": "`+strings.Repeat("X", 1<<20)+`"}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"very long key", placestest.Respond(200, `{"`+strings.Repeat("x", 1<<20)+`": }`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"OK without results", placestest.Respond(200, `{"status": "OK"}`), "UNKNOWN_ERROR", "OK without a results list", false, false, 0, 0},
		{"results of another type", placestest.Respond(200, `{"status": "OK", "results": {}}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"result of another type", placestest.Respond(200, `{"status": "OK", "results": ["x"]}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"results twice", placestest.Respond(200, `{"status": "OK", "results": [`+result+`], "results": []}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"extra comma", placestest.Respond(200, `{"status": "OK", "results": [`+result+`,]}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"missing comma", placestest.Respond(200, `{"status": "OK", "results": [`+result+result+`]}`), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"data after the object", placestest.Respond(200, valid+"{}"), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"truncated at the end", placestest.Respond(200, valid[:len(valid)-3]), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"truncated in a result", placestest.Respond(200, valid[:len(valid)/2]), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"deep nesting", placestest.Respond(200, `{"status": "OK", "results": `+strings.Repeat("[", 1<<20)), "UNKNOWN_ERROR", "malformed response", false, true, 0, 0},
		{"connection closed early", placestest.CloseEarly, "UNKNOWN_ERROR", "could not be read", false, true, 0, 0},
		{"endless body", placestest.EndlessBody, "UNKNOWN_ERROR", "larger than 4 MB", false, false, 0, 0},
		{"gzip bomb", placestest.GzipBomb(5 << 20), "UNKNOWN_ERROR", "larger than 4 MB", false, false, 0, 0},
		{"invalid gzip", placestest.Respond(200, valid, "Content-Encoding", "gzip"), "UNKNOWN_ERROR", "could not be read", false, true, 0, 0},

		{"key in the message", placestest.Respond(200, fmt.Sprintf("{\"error_message\" : %q, \"results\" : [], \"status\" : \"REQUEST_DENIED\"}", "bad key "+placestest.Key)), "REQUEST_DENIED", "bad key [key]", false, false, 0, 0},
		{"URL-encoded key in the message", placestest.Respond(200, `{"error_message" : "GET /?key=`+url.QueryEscape(placestest.Key)+`", "results" : [], "status" : "REQUEST_DENIED"}`), "REQUEST_DENIED", "key=[key]", false, false, 0, 0},
		{"JSON-escaped key in the message", placestest.Respond(200, `{"error_message" : "canary+key/\u003c\u0026\u003e=%7f-12345", "results" : [], "status" : "REQUEST_DENIED"}`), "REQUEST_DENIED", "[key]", false, false, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
			s.OverrideAll(tt.override)
			e := placestest.NearbyError(t, source(s, ""), placestest.Campus, tt.status, tt.text)
			if e.Retryable != tt.retryable {
				t.Errorf("Retryable is %v, want %v", e.Retryable, tt.retryable)
			}
			if e.RetryAfter < tt.low || e.RetryAfter > tt.high {
				t.Errorf("RetryAfter is %v, want %v to %v", e.RetryAfter, tt.low, tt.high)
			}
			if tt.hasBody && !strings.Contains(string(e.Body), `"html_attributions" : [],`+"\n   \"results\" : [],\n") {
				t.Errorf("the body is %q, want the API's own bytes", e.Body)
			}
		})
	}
}

// The bound also applies to results in an error response.
func TestErrorWithResults(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
	s.OverrideAll(placestest.Respond(200, `{"results": [{"name": "x"}, {"name": "y"}], "status": "UNKNOWN_ERROR"}`))
	q := placestest.Campus
	q.Bound = 1
	e := placestest.NearbyError(t, source(s, ""), q, places.StatusUnknownError, "")
	if want := `{"results": [{"name": "x"}], "status": "UNKNOWN_ERROR"}`; string(e.Body) != want {
		t.Errorf("the body is %s, want %s", e.Body, want)
	}
}

// The fake server itself rejects a wrong key.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, "another", placestest.ExpandedArrays)
	e := placestest.NearbyError(t, source(s, ""), placestest.Campus, places.StatusRequestDenied, placestest.GoogleBadKey)
	if want := placestest.GoogleError("REQUEST_DENIED", placestest.GoogleBadKey); string(e.Body) != want {
		t.Errorf("the body is %q, want %q", e.Body, want)
	}
}

// Redirects are not followed, so the key does not reach another host.
func TestRedirect(t *testing.T) {
	t.Parallel()
	target := placestest.Google(t, "", placestest.ExpandedArrays)
	s := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
	for _, code := range []int{301, 302, 303, 307, 308} {
		s.OverrideAll(placestest.Respond(code, "", "Location", target.URL.String()+"/maps/api/place/nearbysearch/json"))
		placestest.NearbyError(t, source(s, ""), placestest.Campus, places.StatusUnknownError, fmt.Sprint(code))
	}
	if n := len(target.Requests()); n > 0 {
		t.Errorf("%d requests followed a redirect", n)
	}
}

// A network error contains neither key nor URL.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"http://127.0.0.1:1", "https://127.0.0.1:1", "http://nowhere.invalid"} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		e := placestest.NearbyError(t, google.New(google.Config{Base: u, Key: placestest.Key}), placestest.Campus, places.StatusUnknownError, "cannot be reached")
		if !e.Retryable || e.Err == nil || strings.Contains(e.Err.Error(), "nearbysearch") {
			t.Errorf("the error is %+v, want a retryable one without the URL", e)
		}
	}
}

// A request ends with its context, before and during the response.
func TestContextDeadline(t *testing.T) {
	t.Parallel()
	for name, override := range map[string]placestest.Override{
		"no response": placestest.BlockUntil(nil, nil, nil),
		"incomplete response": func(w http.ResponseWriter, r placestest.Request, next func(http.ResponseWriter)) {
			fmt.Fprint(w, "{")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		s := placestest.Google(t, placestest.Key, placestest.ExpandedArrays)
		s.OverrideAll(override)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if body, err := source(s, "").Nearby(ctx, placestest.Campus); err != context.DeadlineExceeded {
			t.Errorf("%s: Nearby = %q, %v, want the context's error", name, body, err)
		}
	}
}

func TestNextMidnight(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"2026-01-15T07:59:59Z": "2026-01-15T08:00:00Z", // PST
		"2026-01-15T08:00:00Z": "2026-01-16T08:00:00Z",
		"2026-07-15T12:00:00Z": "2026-07-16T07:00:00Z", // PDT
		"2026-03-08T09:00:00Z": "2026-03-09T07:00:00Z", // daylight saving time begins
		"2026-10-31T12:00:00Z": "2026-11-01T07:00:00Z",
		"2026-11-01T12:00:00Z": "2026-11-02T08:00:00Z", // daylight saving time has ended
	} {
		from, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := google.NextMidnight(from).UTC().Format(time.RFC3339); got != want {
			t.Errorf("NextMidnight(%s) = %s, want %s", at, got, want)
		}
	}
}
