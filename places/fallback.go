package places

import (
	"context"
	"errors"
	"strings"
	"time"
)

// NamedSource is a source of a [Fallback], with the name that error messages use for it.
type NamedSource struct {
	Name   string
	Source Source
}

// Fallback queries its sources in order until one succeeds. A response without results is a success.
type Fallback struct {
	sources []NamedSource
	timeout time.Duration
}

// NewFallback returns a source that queries sources in order. There must be at least one. A query takes at most timeout.
// Each source gets an equal share of the time that the sources before it have left.
//
// If all sources fail, the error has the status of the first and a message that lists the error of each source. With
// one source only, its error is returned unchanged.
func NewFallback(timeout time.Duration, sources ...NamedSource) *Fallback {
	return &Fallback{sources, timeout}
}

// Nearby answers q.
func (f *Fallback) Nearby(ctx context.Context, q Query) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	var errs []error
	for i, s := range f.sources {
		body, err := queryWithShare(ctx, s.Source, q, len(f.sources)-i)
		if err == nil {
			return body, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break // the caller has gone, or no time is left
		}
	}
	if len(f.sources) == 1 {
		return nil, errs[0]
	}
	var messages []string
	for i, err := range errs {
		messages = append(messages, f.sources[i].Name+": "+clientError(err).Message)
	}
	return nil, &Error{
		Status:  clientError(errs[0]).Status,
		Message: strings.Join(messages, "; "),
		Err:     errors.Join(errs...),
	}
}

// queryWithShare queries src with a timeout of 1/n of the time left until ctx's deadline.
func queryWithShare(ctx context.Context, src Source, q Query, n int) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
	defer cancel()
	return src.Nearby(ctx, q)
}
