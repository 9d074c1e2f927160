package web

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Endpoint returns the URL of path at base. If the end of base's path repeats the beginning of path, that part appears
// once: "/api" and "/api/search" give "/api/search".
func Endpoint(base *url.URL, path string) *url.URL {
	u := *base
	prefix := strings.TrimSuffix("/"+strings.Trim(u.Path, "/"), "/")
	for i := len(path); i >= 0; i-- {
		if (i == len(path) || path[i] == '/') && strings.HasSuffix(prefix, path[:i]) {
			u.Path = prefix + path[i:]
			u.RawPath = ""
			return &u
		}
	}
	return &u // unreachable: the empty string is a suffix of every string
}

// Post returns a POST request with that body.
func Post(endpoint *url.URL, contentType string, body []byte) *http.Request {
	u := *endpoint
	return &http.Request{
		Method:        http.MethodPost,
		URL:           &u,
		Header:        http.Header{"Content-Type": {contentType}},
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
}

// Decimal formats f without an exponent.
func Decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// RoundRadius rounds a radius in metres to whole millimetres, but not to 0.
func RoundRadius(radius float64) float64 { return max(math.Round(radius*1000), 1) / 1000 }
