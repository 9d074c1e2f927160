package places

import (
	"bytes"
	"context"
	"errors"
)

// Answer appends to dst the JSON that answers q, ready for the wire: every run of two or more newlines made one, and all
// trailing newlines made exactly two.
//
// It never fails. A query out of its limits is INVALID_REQUEST; a radius or bound of 0 is answered here with no results
// and src is not asked. An error of src becomes the body of the *Error in it, or an object without results that has its
// status word and message; of an error of another kind, UNKNOWN_ERROR and words of ours, since its text may hold a key.
// Whoever wants to count or log the errors of src hands in a Source that does so.
func Answer(ctx context.Context, dst []byte, src Source, q Query) []byte {
	if err := q.Check(); err != nil {
		return wire(dst, failure(err))
	}
	if q.Empty() {
		return wire(dst, Response{Status: StatusZeroResults}.Append(nil))
	}
	body, err := src.Nearby(ctx, q)
	if err == nil && len(body) == 0 {
		err = errors.New("empty answer")
	}
	if err != nil {
		return wire(dst, failure(err))
	}
	return wire(dst, body)
}

// failure encodes err for the client.
func failure(err error) []byte {
	told := tell(err)
	if len(told.Body) > 0 {
		return told.Body
	}
	return Response{Status: told.Status, ErrorMessage: told.Message}.Append(nil)
}

// tell makes an *Error with a status of any error: of one that holds none, words of ours, since its text may hold a key.
func tell(err error) *Error {
	told := &Error{Message: "the places source failed", Err: err}
	var known *Error
	switch {
	case errors.As(err, &known):
		clone := *known
		told = &clone
	case errors.Is(err, context.DeadlineExceeded):
		told.Message = "the places source did not answer in time"
	case errors.Is(err, context.Canceled):
		told.Message = "the request was cancelled"
	}
	if told.Status == "" {
		told.Status = StatusUnknownError
	}
	return told
}

// wire appends body to dst with its newlines as the protocol wants them.
func wire(dst, body []byte) []byte {
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
