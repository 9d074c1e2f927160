package places

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Choice is one source of a list, under the name that messages give it.
type Choice struct {
	Name   string
	Source Source
}

// Fallback asks one source after the other until one answers. An answer without results is an answer.
type Fallback struct {
	choices []Choice
	whole   time.Duration
}

// NewFallback returns a source that asks choices in their order, of which there must be one at least. An answer takes no
// longer than whole, of which each source has its equal share of what those before it have left.
//
// Where all fail, the status is that of the first, the one that was wanted, and the message says of each what happened.
// The failure of an only source is passed on as it is.
func NewFallback(whole time.Duration, choices ...Choice) *Fallback {
	return &Fallback{choices, whole}
}

// Nearby answers q.
func (f *Fallback) Nearby(ctx context.Context, q Query) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.whole)
	defer cancel()
	var failed []error
	for i, c := range f.choices {
		body, err := f.ask(ctx, c.Source, q, len(f.choices)-i)
		if err == nil {
			return body, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break // nobody waits any more, or there is no time left
		}
	}
	if len(f.choices) == 1 {
		return nil, failed[0]
	}
	var messages []string
	for i, err := range failed {
		messages = append(messages, f.choices[i].Name+": "+tell(err).Message)
	}
	return nil, &Error{
		Status:  tell(failed[0]).Status,
		Message: strings.Join(messages, "; "),
		Err:     errors.Join(failed...),
	}
}

// ask asks one of the last left sources of the list.
func (f *Fallback) ask(ctx context.Context, src Source, q Query, left int) ([]byte, error) {
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
	defer cancel()
	return src.Nearby(ctx, q)
}
