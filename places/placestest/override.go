package placestest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"time"
)

// Override handles a request instead of the service. It may call next to get the service's response.
type Override func(w http.ResponseWriter, r Request, next func(http.ResponseWriter))

// Respond responds with an HTTP status code and a body. headers alternates names and values.
func Respond(code int, body string, headers ...string) Override {
	return func(w http.ResponseWriter, _ Request, _ func(http.ResponseWriter)) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// Delay sends the service's response after d.
func Delay(d time.Duration) Override {
	return func(w http.ResponseWriter, r Request, next func(http.ResponseWriter)) {
		select {
		case <-time.After(d):
			next(w)
		case <-r.Context().Done():
		}
	}
}

// BlockUntil sends the service's response once release is closed. It sends to arrived for each request, and to cancelled
// for each request that the client cancels before that. The test must receive from both; either may be nil.
func BlockUntil(release <-chan struct{}, arrived, cancelled chan<- struct{}) Override {
	return func(w http.ResponseWriter, r Request, next func(http.ResponseWriter)) {
		if arrived != nil {
			arrived <- struct{}{}
		}
		select {
		case <-release:
			next(w)
		case <-r.Context().Done():
			if cancelled != nil {
				cancelled <- struct{}{}
			}
		}
	}
}

// CloseEarly sends half of the service's response and closes the connection.
func CloseEarly(w http.ResponseWriter, _ Request, next func(http.ResponseWriter)) {
	recorder := httptest.NewRecorder()
	next(recorder)
	w.Header().Set("Content-Length", "1000000")
	w.Write(recorder.Body.Bytes()[:recorder.Body.Len()/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// EndlessBody sends JSON white space until the client closes the connection.
func EndlessBody(w http.ResponseWriter, r Request, _ func(http.ResponseWriter)) {
	io.WriteString(w, "{")
	space := bytes.Repeat([]byte(" "), 1<<16)
	for r.Context().Err() == nil {
		if _, err := w.Write(space); err != nil {
			return
		}
	}
}

// GzipBomb sends a gzip stream of a few KB that decompresses to size bytes.
func GzipBomb(size int) Override {
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	z.Write(bytes.Repeat([]byte(" "), size))
	z.Close()
	return Respond(http.StatusOK, compressed.String(), "Content-Encoding", "gzip")
}

// Gzip compresses the service's response.
func Gzip(w http.ResponseWriter, _ Request, next func(http.ResponseWriter)) {
	recorder := httptest.NewRecorder()
	next(recorder)
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(recorder.Code)
	z := gzip.NewWriter(w)
	z.Write(recorder.Body.Bytes())
	z.Close()
}
