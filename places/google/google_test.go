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

// TestBytes: in both dialects the answer is the API's own, to the byte, less what is beyond the bound.
func TestBytes(t *testing.T) {
	t.Parallel()
	for _, dialect := range []placestest.Dialect{placestest.OneLine, placestest.ItemALine} {
		s := placestest.Google(t, placestest.Key, dialect)
		src := source(s, "")
		for _, bound := range []int{1, 5, 19, 20} {
			q := placestest.Campus
			q.Bound = bound
			want := placestest.GooglePlaces(dialect, "34.06893", "-118.445127", bound)
			if got := placestest.Ask(t, src, q); got != want {
				t.Errorf("dialect %d, bound %d: got\n%s\nwant\n%s", dialect, bound, got, want)
			}
		}
	}
}

// TestAsks: what goes to the API.
func TestAsks(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, placestest.Key, placestest.ItemALine)
	for _, tt := range []struct {
		q    places.Query
		want url.Values
	}{
		{placestest.Campus, url.Values{"location": {"34.06893,-118.445127"}, "radius": {"10000"}}},
		{places.Query{Lat: 0, Lon: -180, Radius: 1.001 * 1000, Bound: 1}, url.Values{"location": {"0,-180"}, "radius": {"1001"}}},
		{places.Query{Lat: 1e-7, Radius: 1e-9, Bound: 1}, url.Values{"location": {"0.0000001,0"}, "radius": {"0.001"}}},
	} {
		placestest.Ask(t, source(s, ""), tt.q)
		r := s.Last(t)
		tt.want.Set("key", placestest.Key)
		if r.Form.Encode() != tt.want.Encode() || r.Header.Get("User-Agent") != "herd/test" {
			t.Errorf("%+v: asked %v as %q, want %v", tt.q, r.Form, r.Header.Get("User-Agent"), tt.want)
		}
	}
	// A base may hold the path, or part of it, already.
	for _, base := range []string{"/", "/maps/api", "/maps/api/place/nearbysearch/json"} {
		placestest.Ask(t, source(s, base), placestest.Campus)
	}
}

// TestConnectionsAreReused: whatever was answered, the next question goes over the same connection.
func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, placestest.Key, placestest.ItemALine)
	src := source(s, "")
	s.Next(nil, placestest.Says(500, strings.Repeat("x", 1<<20)), placestest.Says(200, "{}"), placestest.Gzipped)
	for range 5 {
		src.Nearby(t.Context(), placestest.Campus)
	}
	remotes := map[string]bool{}
	for _, r := range s.Asked() {
		remotes[r.RemoteAddr] = true
	}
	if len(s.Asked()) != 5 || len(remotes) != 1 {
		t.Errorf("%d questions over %d connections, want 5 over 1", len(s.Asked()), len(remotes))
	}
}

// TestFailures: whatever the API, or something in its place, answers.
func TestFailures(t *testing.T) {
	t.Parallel()
	day := time.Until(google.Midnight(time.Now())) - time.Minute
	far, later := 23*time.Minute, time.Now().Add(40*time.Minute).UTC().Format(http.TimeFormat)
	whole := placestest.GooglePlaces(placestest.ItemALine, "1", "2", 3)
	result := `{"name": "x"}`
	tests := []struct {
		name          string
		trouble       placestest.Trouble
		status, words string
		raw           bool // passed on as it came
		retry         bool
		least, most   time.Duration // of Wait
	}{
		{"denied", placestest.Says(200, placestest.GoogleError("REQUEST_DENIED", placestest.BadKey)), "REQUEST_DENIED", placestest.BadKey, true, false, 0, 0},
		{"invalid", placestest.Says(200, placestest.GoogleError("INVALID_REQUEST", "")), "INVALID_REQUEST", "answered INVALID_REQUEST", true, false, 0, 0},
		{"unknown", placestest.Says(200, placestest.GoogleError("UNKNOWN_ERROR", "")), "UNKNOWN_ERROR", "", true, true, 0, 0},
		{"a word of tomorrow", placestest.Says(200, placestest.GoogleError("DATA_NOT_AVAILABLE", "no")), "DATA_NOT_AVAILABLE", "no", true, false, 0, 0},
		{"rate", placestest.Says(200, placestest.GoogleError("OVER_QUERY_LIMIT", placestest.RateLimit)), "OVER_QUERY_LIMIT", placestest.RateLimit, true, false, time.Minute, time.Minute},
		{"quota without words", placestest.Says(200, placestest.GoogleError("OVER_QUERY_LIMIT", "")), "OVER_QUERY_LIMIT", "", true, false, time.Minute, time.Minute},
		{"day", placestest.Says(200, placestest.GoogleError("OVER_QUERY_LIMIT", placestest.DailyQuota)), "OVER_QUERY_LIMIT", "daily", true, false, day, 25 * time.Hour},
		{"the older word for it", placestest.Says(200, placestest.GoogleError("OVER_DAILY_LIMIT", "")), "OVER_DAILY_LIMIT", "", true, false, day, 25 * time.Hour},
		{"refused in its format, not with 200", placestest.Says(403, placestest.GoogleError("REQUEST_DENIED", "no")), "REQUEST_DENIED", "no", true, false, 0, 0},

		{"401", placestest.Says(401, "<html>"), "REQUEST_DENIED", "HTTP 401 Unauthorized", false, false, 0, 0},
		{"400", placestest.Says(400, "<html>"), "INVALID_REQUEST", "HTTP 400", false, false, 0, 0},
		{"404", placestest.Says(404, ""), "UNKNOWN_ERROR", "HTTP 404", false, false, 0, 0},
		{"429", placestest.Says(429, ""), "OVER_QUERY_LIMIT", "HTTP 429", false, false, time.Minute, time.Minute},
		{"429 for so long", placestest.Says(429, "", "Retry-After", "1380"), "OVER_QUERY_LIMIT", "HTTP 429", false, false, far, far},
		{"429 until then", placestest.Says(429, "", "Retry-After", later), "OVER_QUERY_LIMIT", "HTTP 429", false, false, 38 * time.Minute, 40 * time.Minute},
		{"429 for ever", placestest.Says(429, "", "Retry-After", "2000000000"), "OVER_QUERY_LIMIT", "", false, false, 24 * time.Hour, 24 * time.Hour},
		{"500", placestest.Says(500, ""), "UNKNOWN_ERROR", "HTTP 500", false, true, 0, 0},
		{"503 with an answer", placestest.Says(503, whole), "UNKNOWN_ERROR", "HTTP 503", false, true, 0, 0},
		{"a redirect", placestest.Says(302, "", "Location", "/maps/api/place/nearbysearch/json?x"), "UNKNOWN_ERROR", "HTTP 302", false, false, 0, 0},

		{"no JSON", placestest.Says(200, "<html>please log in</html>"), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"nothing", placestest.Says(200, ""), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"null", placestest.Says(200, "null"), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"a list", placestest.Says(200, "[]"), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"no status", placestest.Says(200, `{"results": []}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"a status that is no word", placestest.Says(200, `{"results": [], "status": 1}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"a status without an end", placestest.Says(200, `{"results": [], "status": "`+strings.Repeat("X", 1<<20)+`"}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"a name without an end", placestest.Says(200, `{"`+strings.Repeat("x", 1<<20)+`": }`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"OK without results", placestest.Says(200, `{"status": "OK"}`), "UNKNOWN_ERROR", "OK without results", false, false, 0, 0},
		{"results that are none", placestest.Says(200, `{"status": "OK", "results": {}}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"results of words", placestest.Says(200, `{"status": "OK", "results": ["x"]}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"results twice", placestest.Says(200, `{"status": "OK", "results": [`+result+`], "results": []}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"a comma too many", placestest.Says(200, `{"status": "OK", "results": [`+result+`,]}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"a comma too few", placestest.Says(200, `{"status": "OK", "results": [`+result+result+`]}`), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"more after it", placestest.Says(200, whole+"{}"), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"cut short", placestest.Says(200, whole[:len(whole)-3]), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"cut within a result", placestest.Says(200, whole[:len(whole)/2]), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"deep", placestest.Says(200, `{"status": "OK", "results": `+strings.Repeat("[", 1<<20)), "UNKNOWN_ERROR", "no answer of its format", false, true, 0, 0},
		{"broken off", placestest.BreaksOff, "UNKNOWN_ERROR", "broke off", false, true, 0, 0},
		{"endless", placestest.Endless, "UNKNOWN_ERROR", "more than 4 MB", false, false, 0, 0},
		{"a bomb", placestest.Bomb(5 << 20), "UNKNOWN_ERROR", "more than 4 MB", false, false, 0, 0},
		{"gzip that is none", placestest.Says(200, whole, "Content-Encoding", "gzip"), "UNKNOWN_ERROR", "broke off", false, true, 0, 0},

		{"the key in words", placestest.Says(200, fmt.Sprintf("{\"error_message\" : %q, \"results\" : [], \"status\" : \"REQUEST_DENIED\"}", "bad key "+placestest.Key)), "REQUEST_DENIED", "bad key [key]", false, false, 0, 0},
		{"the key in a URL", placestest.Says(200, `{"error_message" : "GET /?key=`+url.QueryEscape(placestest.Key)+`", "results" : [], "status" : "REQUEST_DENIED"}`), "REQUEST_DENIED", "key=[key]", false, false, 0, 0},
		{"the key, escaped", placestest.Says(200, `{"error_message" : "canary+key/\u003c\u0026\u003e=%7f-12345", "results" : [], "status" : "REQUEST_DENIED"}`), "REQUEST_DENIED", "[key]", false, false, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := placestest.Google(t, placestest.Key, placestest.ItemALine)
			s.Always(tt.trouble)
			e := placestest.Fails(t, source(s, ""), placestest.Campus, tt.status, tt.words)
			if e.Retry != tt.retry {
				t.Errorf("Retry is %v, want %v", e.Retry, tt.retry)
			}
			if e.Wait < tt.least || e.Wait > tt.most {
				t.Errorf("Wait is %v, want %v to %v", e.Wait, tt.least, tt.most)
			}
			if tt.raw && !strings.Contains(string(e.Body), `"html_attributions" : [],`+"\n   \"results\" : [],\n") {
				t.Errorf("the body is %q, want the API's own", e.Body)
			}
		})
	}
}

// TestFailureWithResults: the bound holds also for what comes with a refusal.
func TestFailureWithResults(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, placestest.Key, placestest.ItemALine)
	s.Always(placestest.Says(200, `{"results": [{"name": "x"}, {"name": "y"}], "status": "UNKNOWN_ERROR"}`))
	q := placestest.Campus
	q.Bound = 1
	e := placestest.Fails(t, source(s, ""), q, places.StatusUnknownError, "")
	if want := `{"results": [{"name": "x"}], "status": "UNKNOWN_ERROR"}`; string(e.Body) != want {
		t.Errorf("the body is %s, want %s", e.Body, want)
	}
}

// TestWrongKey: the server's own refusal, not one that a test put there.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	s := placestest.Google(t, "another", placestest.ItemALine)
	e := placestest.Fails(t, source(s, ""), placestest.Campus, places.StatusRequestDenied, placestest.BadKey)
	if want := placestest.GoogleError("REQUEST_DENIED", placestest.BadKey); string(e.Body) != want {
		t.Errorf("the body is %q, want %q", e.Body, want)
	}
}

// TestRedirectKeepsKey: nobody else is asked, with the key or without it.
func TestRedirectKeepsKey(t *testing.T) {
	t.Parallel()
	thief := placestest.Google(t, "", placestest.ItemALine)
	s := placestest.Google(t, placestest.Key, placestest.ItemALine)
	for _, code := range []int{301, 302, 303, 307, 308} {
		s.Always(placestest.Says(code, "", "Location", thief.URL.String()+"/maps/api/place/nearbysearch/json"))
		placestest.Fails(t, source(s, ""), placestest.Campus, places.StatusUnknownError, fmt.Sprint(code))
	}
	if n := len(thief.Asked()); n > 0 {
		t.Errorf("%d questions went where a redirect pointed", n)
	}
}

// TestUnreachable: an error of the network holds neither key nor URL.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"http://127.0.0.1:1", "https://127.0.0.1:1", "http://nowhere.invalid"} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		e := placestest.Fails(t, google.New(google.Config{Base: u, Key: placestest.Key}), placestest.Campus, places.StatusUnknownError, "cannot be reached")
		if !e.Retry || e.Err == nil || strings.Contains(e.Err.Error(), "nearbysearch") {
			t.Errorf("the error is %+v, want one to retry and without the URL", e)
		}
	}
}

// TestGivesUp: a question ends with its context, while the service is silent and while it dribbles.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]placestest.Trouble{
		"silent": placestest.Until(nil, nil, nil),
		"dribbling": func(w http.ResponseWriter, r placestest.Request, next func(http.ResponseWriter)) {
			fmt.Fprint(w, "{")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		s := placestest.Google(t, placestest.Key, placestest.ItemALine)
		s.Always(trouble)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if body, err := source(s, "").Nearby(ctx, placestest.Campus); err != context.DeadlineExceeded {
			t.Errorf("%s: Nearby = %q, %v, want the context's error", name, body, err)
		}
	}
}

func TestMidnight(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"2026-01-15T07:59:59Z": "2026-01-15T08:00:00Z", // PST
		"2026-01-15T08:00:00Z": "2026-01-16T08:00:00Z",
		"2026-07-15T12:00:00Z": "2026-07-16T07:00:00Z", // PDT
		"2026-03-08T09:00:00Z": "2026-03-09T07:00:00Z", // clocks go forward
		"2026-10-31T12:00:00Z": "2026-11-01T07:00:00Z",
		"2026-11-01T12:00:00Z": "2026-11-02T08:00:00Z", // clocks have gone back
	} {
		from, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := google.Midnight(from).UTC().Format(time.RFC3339); got != want {
			t.Errorf("Midnight(%s) = %s, want %s", at, got, want)
		}
	}
}
