package places

import (
	"context"
	"errors"
	"sync"
)

// Turns limits the queries that a source works on at the same time, and lets clients take turns: of the clients with
// waiting queries, every other turn is for the one that was served least recently. So a client with a thousand queries
// delays another one by a few queries only. The turns between are for the client whose query has waited longest:
// otherwise new clients, of which an attacker may have any number, could keep others waiting without end. See
// [WithClient].
//
// No client has more than a quarter of the queries in progress. When too many queries wait, the client with most of
// them loses its newest one: it fails at once with OVER_QUERY_LIMIT. So does a query whose deadline passes while it waits.
type Turns struct {
	src     Source
	most    int // queries in progress
	waiting int // queries that wait, at most
	refused func()

	mu      sync.Mutex
	clients map[string]*turnsClient
	running int
	queued  int
	served  uint64 // queries that had their turn
	arrived uint64 // queries
}

// turnsClient is one client of a Turns.
type turnsClient struct {
	queue   []*turn // oldest first
	running int
	served  uint64 // Turns.served when a query of the client last had its turn
}

// turn is a query that waits.
type turn struct {
	ready  chan struct{} // closed when the query is admitted or refused
	err    error         // why it was refused; set before ready is closed
	number uint64        // in the order of arrival
}

// manyClients is the number of clients beyond which those without queries are forgotten.
const manyClients = 1000

var errTooManyWait = &Error{Status: StatusOverQueryLimit, Message: "too many queries wait for the places source"}

// NewTurns returns a source that sends at most most queries at a time to src. At most waiting queries wait. refused,
// unless it is nil, is called for each query that is refused.
func NewTurns(src Source, most, waiting int, refused func()) *Turns {
	if refused == nil {
		refused = func() {}
	}
	return &Turns{src: src, most: most, waiting: waiting, refused: refused, clients: map[string]*turnsClient{}}
}

// Nearby answers q.
func (t *Turns) Nearby(ctx context.Context, q Query) ([]byte, error) {
	name := client(ctx)
	mine := t.join(name)
	select {
	case <-mine.ready:
	case <-ctx.Done():
		if t.leave(name, mine) {
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return nil, ctx.Err()
			}
			t.refused()
			return nil, errTooManyWait
		}
	}
	if mine.err != nil {
		t.refused()
		return nil, mine.err
	}
	defer t.done(name) // also if src panics
	return t.src.Nearby(ctx, q)
}

// join queues a query of a client. The query may have its turn at once.
func (t *Turns) join(name string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[name]
	if c == nil {
		t.forgetLocked()
		c = &turnsClient{}
		t.clients[name] = c
	}
	t.arrived++
	mine := &turn{ready: make(chan struct{}), number: t.arrived}
	c.queue = append(c.queue, mine)
	t.queued++
	t.admitLocked()
	if t.queued > t.waiting {
		t.refuseLocked()
	}
	return mine
}

// leave removes a query whose context has ended. It returns false if the query has just been admitted or refused.
func (t *Turns) leave(name string, left *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[name]
	if c == nil { // refused, and forgotten since
		return false
	}
	for i, waiting := range c.queue {
		if waiting == left {
			c.queue = append(c.queue[:i], c.queue[i+1:]...)
			t.queued--
			return true
		}
	}
	return false
}

// done ends a query that had its turn.
func (t *Turns) done(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	t.clients[name].running--
	t.admitLocked()
}

// admitLocked gives turns to waiting queries while there is room.
func (t *Turns) admitLocked() {
	for t.running < t.most {
		var next *turnsClient
		for _, c := range t.clients {
			if len(c.queue) > 0 && c.running < max(1, t.most/4) && (next == nil || c.before(next, t.served%2 == 1)) {
				next = c
			}
		}
		if next == nil {
			return
		}
		t.served++
		t.running++
		t.queued--
		next.running++
		next.served = t.served
		close(next.queue[0].ready)
		next.queue = next.queue[1:]
	}
}

// before reports whether c, which has a waiting query, has its turn before d. In a fair turn that is the one that was
// served least recently, else the one whose query has waited longest.
func (c *turnsClient) before(d *turnsClient, fair bool) bool {
	if fair && c.served != d.served {
		return c.served < d.served
	}
	return c.queue[0].number < d.queue[0].number
}

// refuseLocked refuses the newest query of the client with most waiting queries.
func (t *Turns) refuseLocked() {
	var most *turnsClient
	for _, c := range t.clients {
		if most == nil || len(c.queue) > len(most.queue) || len(c.queue) == len(most.queue) && c.served > most.served {
			most = c
		}
	}
	last := len(most.queue) - 1
	most.queue[last].err = errTooManyWait
	close(most.queue[last].ready)
	most.queue = most.queue[:last]
	t.queued--
}

// forgetLocked makes room for another client. Those who are forgotten count as never served.
func (t *Turns) forgetLocked() {
	if len(t.clients) < manyClients {
		return
	}
	for name, c := range t.clients {
		if len(c.queue) == 0 && c.running == 0 {
			delete(t.clients, name)
		}
	}
}
