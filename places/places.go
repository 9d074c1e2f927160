package places

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Limits of a query, which are Google's.
const (
	MaxRadius = 50_000 // metres
	MaxBound  = 20     // results
)

// Query asks for places around a point.
type Query struct {
	Lat, Lon float64 // WGS 84 degrees, within 90 and 180
	Radius   float64 // metres, 0 to MaxRadius
	Bound    int     // at most this many results, 0 to MaxBound
}

// Check reports the first field of q that is out of its range, as an *Error with StatusInvalidRequest, or nil.
func (q Query) Check() error {
	// Written so that NaN, which compares with nothing, is out of every range.
	switch {
	case !(q.Lat >= -90 && q.Lat <= 90):
		return invalid("latitude %v is not within 90 degrees", q.Lat)
	case !(q.Lon >= -180 && q.Lon <= 180):
		return invalid("longitude %v is not within 180 degrees", q.Lon)
	case !(q.Radius >= 0 && q.Radius <= MaxRadius):
		return invalid("radius %v is not 0 to %d metres", q.Radius, MaxRadius)
	case q.Bound < 0 || q.Bound > MaxBound:
		return invalid("bound %d is not 0 to %d", q.Bound, MaxBound)
	}
	return nil
}

// Empty tells whether q asks for nothing: Answer answers it without any source.
func (q Query) Empty() bool { return q.Radius == 0 || q.Bound == 0 }

// Spot is q with its place rounded to about a metre (a hundred-thousandth of a degree): queries with one Spot may share
// an answer.
func (q Query) Spot() Query {
	const steps = 1e5 // of a degree
	q.Lat, q.Lon = math.Round(q.Lat*steps)/steps, math.Round(q.Lon*steps)/steps
	return q
}

func invalid(format string, args ...any) *Error {
	return &Error{Status: StatusInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// Source answers queries with one JSON object in the format of Google's Nearby Search, holding at most q.Bound
// results. The bytes may be shared with other callers, so nobody changes them.
//
// Nearby may be called by many goroutines at once. It returns when ctx ends, at the latest. An error that is, or
// wraps, an *Error tells the client what it says; of any other error the client learns only that there was one.
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

// Error is a failure of a source, told twice: once to the client and once to the operator. The sources between client
// and service learn from it what to do next.
type Error struct {
	Status  string // one of Google's status words; empty means StatusUnknownError
	Message string // for the client: plain words that hold no key
	Err     error  // for the operator: the cause, or nil; it holds no key either

	// Body is the failure in the service's own bytes, an object of the format that holds no key. The client gets it as it
	// is, in place of one made of Status and Message; nil where there is none.
	Body []byte

	Retry bool          // asking again at once may help
	Wait  time.Duration // how long asking again does not help; 0 where that is not known
}

// Error is the text for the operator: status, message and cause. Clients see Status and Message only.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Status + ": " + e.Message
	}
	return e.Status + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
