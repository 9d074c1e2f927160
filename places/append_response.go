package places

import (
	"bytes"
	"context"
	"errors"
)

// AppendResponse queries src and appends the JSON response to dst. The JSON can be sent to a client as it is: it contains
// no empty lines, and it ends with exactly two newlines.
//
// AppendResponse always succeeds. An invalid query gets INVALID_REQUEST. A query with a radius or bound of 0 gets
// ZERO_RESULTS, and src is not queried. If src returns an *Error with a Body, the client gets that body. Any other *Error
// becomes a response without results that has its status and message. An error of another type may contain a key, so
// the client gets UNKNOWN_ERROR and a fixed message instead of its text.
//
// AppendResponse neither logs nor counts errors: see [Logged] and [Observed].
func AppendResponse(ctx context.Context, dst []byte, src Source, q Query) []byte {
	if err := q.Check(); err != nil {
		return appendNormalized(dst, errorBody(err))
	}
	if q.Empty() {
		return appendNormalized(dst, Response{Status: StatusZeroResults}.Append(nil))
	}
	body, err := src.Nearby(ctx, q)
	if err == nil && len(body) == 0 {
		err = errors.New("empty response")
	}
	if err != nil {
		return appendNormalized(dst, errorBody(err))
	}
	return appendNormalized(dst, body)
}

// errorBody encodes err for the client.
func errorBody(err error) []byte {
	e := clientError(err)
	if len(e.Body) > 0 {
		return e.Body
	}
	return Response{Status: e.Status, ErrorMessage: e.Message}.Append(nil)
}

// clientError returns the *Error that err wraps, or a new one with a fixed message. Its status is never empty.
func clientError(err error) *Error {
	e := &Error{Message: "the places source failed", Err: err}
	var wrapped *Error
	switch {
	case errors.As(err, &wrapped):
		clone := *wrapped
		e = &clone
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = "the places source did not answer in time"
	case errors.Is(err, context.Canceled):
		e.Message = "the request was cancelled"
	}
	if e.Status == "" {
		e.Status = StatusUnknownError
	}
	return e
}

// appendNormalized appends body to dst. It removes empty lines and ends the text with two newlines, as the client
// protocol requires.
func appendNormalized(dst, body []byte) []byte {
	body = bytes.TrimRight(body, "\n")
	for {
		i := bytes.Index(body, []byte("\n\n"))
		if i < 0 {
			break
		}
		dst = append(dst, body[:i+1]...)
		body = bytes.TrimLeft(body[i:], "\n")
	}
	return append(append(dst, body...), "\n\n"...)
}
