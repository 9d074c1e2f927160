package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"herd/places"
)

// UnknownError returns an UNKNOWN_ERROR that is not retryable.
func UnknownError(format string, args ...any) *places.Error {
	return &places.Error{Status: places.StatusUnknownError, Message: fmt.Sprintf(format, args...)}
}

// Malformed returns the error for a response that cannot be decoded. err is the decoding error.
func Malformed(service string, err error) *places.Error {
	e := UnknownError("%s sent a malformed response", service)
	e.Err, e.Retryable = errors.New(Truncate(err.Error())), true
	return e
}

// StatusError returns the error for an HTTP status code other than 200, with the matching status word of Google.
func (r Response) StatusError(service string) *places.Error {
	e := UnknownError("%s returned HTTP %d %s", service, r.Code, http.StatusText(r.Code))
	switch {
	case r.Code == http.StatusBadRequest:
		e.Status = places.StatusInvalidRequest
	case r.Code == http.StatusUnauthorized || r.Code == http.StatusForbidden:
		e.Status = places.StatusRequestDenied
	case r.Code == http.StatusTooManyRequests:
		e.Status = places.StatusOverQueryLimit
		e.RetryAfter = r.RetryAfter(time.Minute)
	case r.Code >= 500:
		e.Retryable = true
	}
	return e
}

// RetryAfter returns the duration in the Retry-After header, at most a day. Without a valid header, it returns
// defaultDuration.
func (r Response) RetryAfter(defaultDuration time.Duration) time.Duration {
	const longest = 24 * time.Hour
	value := r.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if at, err := http.ParseTime(value); err == nil && time.Until(at) > 0 {
		return min(time.Until(at), longest)
	}
	return defaultDuration
}

// Truncate limits a service's text to 500 bytes for use in a message.
func Truncate(text string) string {
	const longest = 500
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}
