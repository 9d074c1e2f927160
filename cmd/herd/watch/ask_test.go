package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
)

// nearHerd is a herd that always finds the same clients near a place, and does not know others that are asked about if
// there are none.
type nearHerd struct {
	*fakeHerd
	found string
}

func (h nearHerd) Near(context.Context, []byte) (natsbus.Reply, error) {
	if h.found == "" {
		return natsbus.Reply{}, fmt.Errorf("%w: no client", bus.ErrUnknown)
	}
	return natsbus.Reply{Data: []byte(h.found), LeftOut: 3}, nil
}

// unread is the response for a browser that does not read: a write blocks until end is closed.
type unread struct {
	*httptest.ResponseRecorder
	writing chan<- struct{}
	end     <-chan struct{}

	mu       sync.Mutex
	deadline time.Time
}

func (u *unread) Write(p []byte) (int, error) {
	u.writing <- struct{}{}
	<-u.end
	return len(p), nil
}

func (u *unread) SetWriteDeadline(at time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.deadline = at
	return nil
}

// TestUnreadReplies: browsers that do not read their replies do not delay other requests, and are given up soon.
func TestUnreadReplies(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, nearHerd{newFakeHerd(), "1 " + at("kiwi", 1, 5) + "\n"}, nil)
	writing, end := make(chan struct{}, 9), make(chan struct{})
	var all sync.WaitGroup
	for range maxRequestsAtOnce {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:12080/api/near?at=kiwi&limit=1000", nil)
		w := &unread{ResponseRecorder: httptest.NewRecorder(), writing: writing, end: end}
		all.Go(func() { page.ServeHTTP(w, r) })
		<-writing
		w.mu.Lock()
		if left := time.Until(w.deadline); left <= 0 || left > writeTimeout {
			t.Errorf("a write may take %v", left)
		}
		w.mu.Unlock()
	}
	if reply := get(page, "/api/near?at=kiwi", nil); reply.Code != http.StatusOK || !strings.Contains(reply.Body.String(), `"id":"kiwi"`) {
		t.Errorf("a request beside them: %d %s", reply.Code, reply.Body)
	}
	close(end)
	all.Wait()
}

// TestLargeNear: a reply with long names is bounded, and says how many clients it leaves out.
func TestLargeNear(t *testing.T) {
	t.Parallel()
	const clients = 100
	line := "1 " + at(strings.Repeat("\x01", 4000), 1, 5) + "\n"
	page, _ := startPage(t, nearHerd{newFakeHerd(), strings.Repeat(line, clients)}, nil)
	reply := get(page, "/api/near?at=kiwi&limit=1000", nil)
	var got struct {
		Clients []nearClient
		LeftOut int
	}
	if err := json.Unmarshal(reply.Body.Bytes(), &got); err != nil || reply.Code != http.StatusOK {
		t.Fatalf("%d %.200s: %v", reply.Code, reply.Body, err)
	}
	if reply.Body.Len() > maxNear+1000 || len(got.Clients) == 0 || len(got.Clients)+got.LeftOut != clients+3 {
		t.Errorf("%d bytes, %d clients, %d left out", reply.Body.Len(), len(got.Clients), got.LeftOut)
	}
}

// TestNearUnknown: that a client is unknown is an answer, and no error that a browser would log at each attempt.
func TestNearUnknown(t *testing.T) {
	t.Parallel()
	page, _ := startPage(t, nearHerd{newFakeHerd(), ""}, nil)
	reply := get(page, "/api/near?at=moa", nil)
	if want := `{"clients":[],"unknown":true}` + "\n"; reply.Code != http.StatusOK || reply.Body.String() != want {
		t.Errorf("%d %s, want 200 %s", reply.Code, reply.Body, want)
	}
}
