package places

import (
	"context"
	"sync"
	"time"
)

// Flights makes one question of equal questions that are asked at the same time: those with one Spot. The first is asked
// as it is; those that come before it is answered get the same answer, or the same failure.
//
// A question goes on while anybody waits for it, and is cancelled when the last has gone.
type Flights struct {
	src   Source
	whole time.Duration

	mu   sync.Mutex
	open map[Query]*flight // by Spot
}

// flight is one question under way.
type flight struct {
	waiting int // guarded by Flights.mu
	cancel  context.CancelFunc

	landed chan struct{} // closed when what follows is set
	body   []byte
	err    error
}

// NewFlights returns a source that joins questions to src. Each of them is given up after whole: one who joins late may
// wait longer than it lasts.
func NewFlights(src Source, whole time.Duration) *Flights {
	return &Flights{src: src, whole: whole, open: map[Query]*flight{}}
}

// Nearby answers q.
func (f *Flights) Nearby(ctx context.Context, q Query) ([]byte, error) {
	key := q.Spot()
	flight := f.join(ctx, key, q)
	select {
	case <-flight.landed:
		return flight.body, flight.err
	case <-ctx.Done():
		f.leave(key, flight)
		return nil, ctx.Err()
	}
}

func (f *Flights) join(ctx context.Context, key Query, q Query) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if under, ok := f.open[key]; ok {
		under.waiting++
		return under
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.whole)
	under := &flight{waiting: 1, cancel: cancel, landed: make(chan struct{})}
	f.open[key] = under
	go func() {
		defer cancel()
		under.body, under.err = f.src.Nearby(ctx, q)
		f.mu.Lock()
		f.closeLocked(key, under)
		f.mu.Unlock()
		close(under.landed)
	}()
	return under
}

// leave cancels a flight that nobody waits for any more. Nobody may join it then.
func (f *Flights) leave(key Query, under *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if under.waiting--; under.waiting == 0 {
		under.cancel()
		f.closeLocked(key, under)
	}
}

func (f *Flights) closeLocked(key Query, under *flight) {
	if f.open[key] == under {
		delete(f.open, key)
	}
}
