// Package web is the HTTP client of the places sources. It limits the size of responses and does not follow redirects,
// so the key is sent to its own host only. It removes keys from responses, and URLs and keys from errors.
package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"herd/places"
)

const (
	maxBodySize     = 4 << 20 // bytes, decompressed; a full response of 20 places has about 60 KB
	maxConnsPerHost = 100     // further requests wait
)

// Client sends requests to one service.
type Client struct {
	http      *http.Client
	userAgent string
	secrets   []string // in every form that a text may contain them
}

// NewClient returns a client with that User-Agent. It redacts secrets in response bodies and error texts.
func NewClient(userAgent string, secrets ...string) *Client {
	c := &Client{
		userAgent: userAgent,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
				ForceAttemptHTTP2:      true,
				MaxConnsPerHost:        maxConnsPerHost,
				MaxIdleConnsPerHost:    maxConnsPerHost,
				IdleConnTimeout:        90 * time.Second,
				TLSHandshakeTimeout:    5 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, s := range secrets {
		if len(s) >= minSecretLength {
			c.secrets = append(c.secrets, spellings(s)...)
		}
	}
	return c
}

// Response is an HTTP response with any status code.
type Response struct {
	Code   int
	Header http.Header
	Body   []byte
}

// Do sends r and reads the whole response. If ctx ends, it returns ctx's cause. If the service cannot be reached, or its
// response cannot be read or is too large, it returns a *places.Error that names the service.
func (c *Client) Do(ctx context.Context, service string, r *http.Request) (Response, error) {
	r.Header.Set("User-Agent", c.userAgent)
	resp, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		return Response{}, c.networkError(ctx, service+" cannot be reached", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBodySize+1))
	if err != nil {
		return Response{}, c.networkError(ctx, "the response of "+service+" could not be read", err)
	}
	if len(body) > maxBodySize {
		return Response{}, UnknownError("the response of %s is larger than %d MB", service, maxBodySize>>20)
	}
	return Response{resp.StatusCode, resp.Header, c.redact(body)}, nil
}

func (c *Client) networkError(ctx context.Context, message string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // without the URL, which may contain a key
	}
	return &places.Error{
		Status:    places.StatusUnknownError,
		Message:   message,
		Err:       errors.New(Truncate(string(c.redact([]byte(err.Error()))))),
		Retryable: true,
	}
}

func (c *Client) redact(text []byte) []byte {
	for _, s := range c.secrets {
		text = redact(text, s)
	}
	return text
}
