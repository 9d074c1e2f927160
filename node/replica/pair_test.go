package replica

import (
	"fmt"
	"testing"
	"time"

	"herd/node/wire"
)

// pair is two replicas and the repair between them, without loss.
type pair struct {
	t     *testing.T
	a, b  *Replica
	now   time.Time
	bytes int // of all requests and replies
	load  int // reports to each side between any two messages
}

func newRepairPair(t *testing.T) *pair {
	return &pair{
		t:   t,
		a:   New(Config{Name: "A", Topology: Topology{Neighbours: []string{"B"}}, Epoch: 1, Repair: 30 * time.Second}),
		b:   New(Config{Name: "B", Topology: Topology{Neighbours: []string{"A"}}, Epoch: 2, Repair: 30 * time.Second}),
		now: time.Unix(1_700_000_000, 0),
	}
}

// mergeLine puts a record into a map without queueing it, as if it had come by a repair
// long ago.
func mergeLine(t testing.TB, r *Replica, line string) {
	t.Helper()
	r.store.Merge(mustParse(t, line))
}

// heartbeats sends a heartbeat in each direction.
func (p *pair) heartbeats() {
	p.a.HandleHeartbeat(0, p.b.Heartbeat(0, p.now), p.now)
	p.b.HandleHeartbeat(0, p.a.Heartbeat(0, p.now), p.now)
}

// settle runs all comparisons that are due, and counts their bytes.
func (p *pair) settle() {
	for rounds := 0; ; rounds++ {
		if rounds > 100 {
			p.t.Fatal("each comparison makes another one due, without end")
		}
		began := false
		for _, side := range [][2]*Replica{{p.a, p.b}, {p.b, p.a}} {
			_, request, ok := side[0].NextRequest(p.now)
			for began = began || ok; request != nil; {
				request = p.exchange(side[0], side[1], request)
			}
		}
		if !began {
			return
		}
	}
}

// exchange carries one request and its reply, and returns the next request.
func (p *pair) exchange(requester, replier *Replica, request []byte) (next []byte) {
	p.t.Helper()
	p.bytes += len(request)
	for i := range p.load {
		p.now = p.now.Add(time.Microsecond)
		mergeLine(p.t, p.a, fmt.Sprintf("AT A +1.000000000 a%d +1+1 %d.%09d", i, p.now.Unix(), p.now.Nanosecond()))
		mergeLine(p.t, p.b, fmt.Sprintf("AT B +1.000000000 b%d +1+1 %d.%09d", i, p.now.Unix(), p.now.Nanosecond()))
	}
	if request[0] == byte(wire.RequestLines) && len(request) > requester.frameSize() {
		p.t.Fatalf("a request of %d bytes, want at most %d", len(request), requester.frameSize())
	}
	reply, _, err := replier.HandleRequest(0, request, p.now)
	if err != nil {
		p.t.Fatal(err)
	}
	for more := true; more; {
		var message []byte
		if message, more, err = reply.Next(); err != nil {
			p.t.Fatal(err)
		}
		p.bytes += len(message)
		if message[0] == byte(wire.ReplyLines) && len(message) > replier.frameSize() {
			p.t.Fatalf("a message of %d bytes, want at most %d", len(message), replier.frameSize())
		}
		reply.Sent()
		result, err := requester.HandleReply(0, message, p.now)
		if err != nil {
			p.t.Fatal(err)
		}
		next = result.Request
	}
	return next
}
