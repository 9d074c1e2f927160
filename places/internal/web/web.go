// Package web is HTTP as the places sources need it: bodies read to their end and bounded, no redirects, so that a key
// goes to no other host than its own, and errors that hold neither URL nor key.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"herd/places"
)

const (
	mostBody  = 4 << 20 // bytes of an answer, unpacked; a full one of 20 places has 60 KB
	mostConns = 100     // to one host; more questions wait

	// maskFrom is how long a secret is that is masked: a shorter one could be part of any word.
	maskFrom = 8
	mask     = "[key]"
)

// Client asks one service.
type Client struct {
	http    *http.Client
	agent   string
	secrets [][]byte // as they may stand in a text
}

// NewClient returns a client that says it is agent. Secrets are what never comes back from it: in an answer's body and
// in the texts of errors they are masked.
func NewClient(agent string, secrets ...string) *Client {
	c := &Client{
		agent: agent,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
				ForceAttemptHTTP2:      true,
				MaxConnsPerHost:        mostConns,
				MaxIdleConnsPerHost:    mostConns,
				IdleConnTimeout:        90 * time.Second,
				TLSHandshakeTimeout:    5 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, s := range secrets {
		if len(s) < maskFrom {
			continue
		}
		quoted, err := json.Marshal(s)
		if err != nil {
			panic(err) // strings always can be
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), strings.Trim(string(quoted), `"`)} {
			c.secrets = append(c.secrets, []byte(form))
		}
	}
	return c
}

// Reply is an HTTP answer, whatever its code.
type Reply struct {
	Code   int
	Header http.Header
	Body   []byte
}

// Do sends r and reads the answer to its end. It fails with ctx's error when that ended, else with a *places.Error that
// names the service: where it cannot be reached, breaks off, or says too much.
func (c *Client) Do(ctx context.Context, service string, r *http.Request) (Reply, error) {
	r.Header.Set("User-Agent", c.agent)
	resp, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		return Reply{}, c.failure(ctx, service+" cannot be reached", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBody+1))
	if err != nil {
		return Reply{}, c.failure(ctx, service+" broke off its answer", err)
	}
	if len(body) > mostBody {
		return Reply{}, Unknown("%s answered with more than %d MB", service, mostBody>>20)
	}
	return Reply{resp.StatusCode, resp.Header, c.masked(body)}, nil
}

func (c *Client) failure(ctx context.Context, message string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err // without the URL, which may hold a key
	}
	return &places.Error{
		Status: places.StatusUnknownError, Message: message, Err: errors.New(Clip(string(c.masked([]byte(err.Error()))))), Retry: true,
	}
}

func (c *Client) masked(text []byte) []byte {
	for _, s := range c.secrets {
		if bytes.Contains(text, s) {
			text = bytes.ReplaceAll(text, s, []byte(mask))
		}
	}
	return text
}

// Unknown is an UNKNOWN_ERROR that asking again at once does not mend.
func Unknown(format string, args ...any) *places.Error {
	return &places.Error{Status: places.StatusUnknownError, Message: fmt.Sprintf(format, args...)}
}

// Garbled is an answer that is none of its service's format, as err says, whose text may quote from it.
func Garbled(service string, err error) *places.Error {
	e := Unknown("%s answered what is no answer of its format", service)
	e.Err, e.Retry = errors.New(Clip(err.Error())), true
	return e
}

// Failure is what an HTTP code other than 200 means, in Google's words.
func (r Reply) Failure(service string) *places.Error {
	e := Unknown("%s answered HTTP %d %s", service, r.Code, http.StatusText(r.Code))
	switch {
	case r.Code == http.StatusBadRequest:
		e.Status = places.StatusInvalidRequest
	case r.Code == http.StatusUnauthorized || r.Code == http.StatusForbidden:
		e.Status = places.StatusRequestDenied
	case r.Code == http.StatusTooManyRequests:
		e.Status = places.StatusOverQueryLimit
		e.Wait = r.RetryAfter(time.Minute)
	case r.Code >= 500:
		e.Retry = true
	}
	return e
}

// RetryAfter is how long the service wants to be left alone, a day at most; otherwise where it does not say.
func (r Reply) RetryAfter(otherwise time.Duration) time.Duration {
	const most = 24 * time.Hour
	said := r.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(said, 10, 31); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, most)
	}
	if at, err := http.ParseTime(said); err == nil && time.Until(at) > 0 {
		return min(time.Until(at), most)
	}
	return otherwise
}

// Endpoint is the URL of path at base. What of path base ends with already is not repeated.
func Endpoint(base *url.URL, path string) *url.URL {
	u := *base
	begin := strings.TrimSuffix("/"+strings.Trim(u.Path, "/"), "/")
	for i := len(path); i >= 0; i-- {
		if (i == len(path) || path[i] == '/') && strings.HasSuffix(begin, path[:i]) {
			u.Path = begin + path[i:]
			u.RawPath = ""
			return &u
		}
	}
	return &u // not reached: every text ends with the empty one
}

// Clip shortens a service's text to what fits a message.
func Clip(text string) string {
	const most = 500
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// Metres is a radius as a service is told it: whole millimetres, the least of them for what is smaller.
func Metres(radius float64) float64 { return max(math.Round(radius*1000), 1) / 1000 }
