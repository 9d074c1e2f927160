package placestest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"herd/places"
)

// FuzzResponses fuzzes what a service responds to a source, beginning with the responses of overrides and bodies. Whatever
// the response, the source's result and what a client gets are valid JSON with no more places than the query asks for, and
// neither they nor errors contain Key.
func FuzzResponses(f *testing.F, source func(base *url.URL) places.Source, overrides []Override, bodies ...string) {
	for _, o := range overrides {
		r := httptest.NewRecorder()
		o(r, Request{}, nil)
		f.Add(r.Code, r.Body.Bytes())
	}
	inJSON, err := json.Marshal(Key)
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range bodies {
		f.Add(http.StatusOK, []byte(body))
		f.Add(http.StatusForbidden, []byte(body))
		// A service may quote the key, in any of the ways in which JSON can write it.
		for _, key := range []string{Key, url.QueryEscape(Key), strings.Trim(string(inJSON), `"`), strings.ReplaceAll(Key, "/", `\/`), `\u0063` + Key[1:], strings.ReplaceAll(Key, "<", `\u003C`)} {
			f.Add(http.StatusOK, []byte(strings.ReplaceAll(body, "Caf", key)))
		}
	}
	type response struct {
		code int
		body []byte
	}
	var next atomic.Pointer[response]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := next.Load()
		w.WriteHeader(r.code)
		w.Write(r.body)
	}))
	f.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		f.Fatal(err)
	}
	src := source(base)
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		if code < 200 || code > 599 {
			return // not a final status
		}
		next.Store(&response{code, body})
		result, err := src.Nearby(t.Context(), Campus)
		var e *places.Error
		switch {
		case err == nil:
			checkJSON(t, "the result", result)
		case !errors.As(err, &e):
			t.Fatalf("Nearby: %v, want a places.Error", err)
		case e.Status == "" || len(e.Error()) > 2000:
			t.Fatalf("status %q, and an error of %d bytes", e.Status, len(e.Error()))
		default:
			checkSecret(t, "the error", e.Error())
		}
		same := answered{result, err}
		checkJSON(t, "the response for the client", places.AppendResponse(t.Context(), nil, same, Campus))
	})
}

// answered is a source that has already answered.
type answered struct {
	result []byte
	err    error
}

func (a answered) Nearby(context.Context, places.Query) ([]byte, error) { return a.result, a.err }

func checkJSON(t *testing.T, what string, text []byte) {
	t.Helper()
	var object struct{ Results []any }
	var all any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatalf("%s: %v: %q", what, err, text)
	}
	if len(object.Results) > Campus.Bound {
		t.Fatalf("%s has %d places, want %d at most: %q", what, len(object.Results), Campus.Bound, text)
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	checkSecret(t, what, string(text))
	checkStrings(t, what, all)
}

// checkStrings checks all strings in a decoded value.
func checkStrings(t *testing.T, what string, value any) {
	t.Helper()
	switch v := value.(type) {
	case string:
		checkSecret(t, what, v)
	case []any:
		for _, item := range v {
			checkStrings(t, what, item)
		}
	case map[string]any:
		for key, item := range v {
			checkSecret(t, what, key)
			checkStrings(t, what, item)
		}
	}
}

func checkSecret(t *testing.T, what, text string) {
	t.Helper()
	if strings.Contains(text, Key) {
		t.Fatalf("%s contains the key: %q", what, text)
	}
}
