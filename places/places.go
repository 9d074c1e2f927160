package places

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Limits of a query. They are Google's.
const (
	MaxRadius = 50_000 // metres
	MaxBound  = 20     // results
)

// Query asks for places around a point.
type Query struct {
	Lat, Lon float64 // WGS 84 degrees, within ±90 and ±180
	Radius   float64 // metres, 0 to MaxRadius
	Bound    int     // maximum number of results, 0 to MaxBound
}

// Check returns an *Error with StatusInvalidRequest for the first field of q that is out of range. If there is none, it
// returns nil.
func (q Query) Check() error {
	// The comparisons are negated so that NaN is out of range.
	switch {
	case !(q.Lat >= -90 && q.Lat <= 90):
		return invalid("latitude %v is not between -90 and 90 degrees", q.Lat)
	case !(q.Lon >= -180 && q.Lon <= 180):
		return invalid("longitude %v is not between -180 and 180 degrees", q.Lon)
	case !(q.Radius >= 0 && q.Radius <= MaxRadius):
		return invalid("radius %v is not between 0 and %d metres", q.Radius, MaxRadius)
	case q.Bound < 0 || q.Bound > MaxBound:
		return invalid("bound %d is not between 0 and %d", q.Bound, MaxBound)
	}
	return nil
}

// Empty reports whether q asks for nothing. AppendResponse answers such a query without a source.
func (q Query) Empty() bool { return q.Radius == 0 || q.Bound == 0 }

// CacheKey returns q with its position rounded to 0.00001 degrees, about a metre. Queries with equal keys may share a
// response.
func (q Query) CacheKey() Query {
	const stepsPerDegree = 1e5
	q.Lat, q.Lon = math.Round(q.Lat*stepsPerDegree)/stepsPerDegree, math.Round(q.Lon*stepsPerDegree)/stepsPerDegree
	return q
}

func invalid(format string, args ...any) *Error {
	return &Error{Status: StatusInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// Source answers a query with one JSON object in the format of Google's Nearby Search. The object has at most q.Bound
// results. Several callers may share the returned bytes, so callers must not change them.
//
// Nearby may be called concurrently. It returns when ctx ends, or earlier. The client sees the status and message of an
// error that is or wraps an *Error. Of any other error, it learns only that the source failed.
type Source interface {
	Nearby(ctx context.Context, q Query) ([]byte, error)
}

// Google's status words.
const (
	StatusOK             = "OK"
	StatusZeroResults    = "ZERO_RESULTS"
	StatusInvalidRequest = "INVALID_REQUEST"
	StatusOverQueryLimit = "OVER_QUERY_LIMIT"
	StatusRequestDenied  = "REQUEST_DENIED"
	StatusUnknownError   = "UNKNOWN_ERROR"
)

// Error is the failure of a source. It has one text for the client and one for the operator. It also says whether and
// when another attempt may succeed. None of its texts contains a key.
type Error struct {
	Status  string // one of Google's status words; empty means StatusUnknownError
	Message string // for the client, in plain words
	Err     error  // for the operator: the cause, or nil

	// Body is the error response of the service, unchanged. It is a JSON object of Google's format. The client gets it
	// instead of Status and Message, unless it is nil.
	Body []byte

	Retryable  bool          // an immediate retry may succeed
	RetryAfter time.Duration // retries fail until this time has passed; 0 if unknown
}

// Error returns the text for the operator: status, message and cause. Clients see only status and message.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Status + ": " + e.Message
	}
	return e.Status + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
