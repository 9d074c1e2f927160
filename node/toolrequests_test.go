package node

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"herd/bus"
	"herd/node/status"
)

// TestRequestRates: of each endpoint, a second's requests are answered: as many as the table of
// endpoints says.
func TestRequestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newRequestLimits()
		for _, e := range status.Endpoints {
			answered := 0
			for range 3 * max(e.Rate, maxRequests) {
				if l.allow(e.Name) {
					answered++
				}
			}
			if want := map[string]int{"dump": 200, "edges": 200, "follow": 200, "forget": 200, "near": 20_000, "get": 20_000, "reload": 200, "restore": 200, "status": 200}[e.Name]; answered != want {
				t.Errorf("%s: %d requests answered at one moment, want %d", e.Name, answered, want)
			}
		}
	})
}

// TestRequestLimits: too many requests of tools are refused, for one endpoint alone, with one
// log line a second. A second later they are answered again.
func TestRequestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newSolo(t, nil)
		settle()
		n := h.servers["Solo"].node
		for range 2 {
			answered, busy := 0, 0
			for range 2 * maxRequests {
				switch _, err := n.Answer(status.Endpoint.Name, nil); {
				case err == nil:
					answered++
				case errors.Is(err, bus.ErrBusy) && strings.Contains(err.Error(), "status"):
					busy++
				}
			}
			if answered != maxRequests || busy != maxRequests {
				t.Errorf("%d requests answered, %d refused, want %d each", answered, busy, maxRequests)
			}
			if _, err := n.Answer(status.EdgesEndpoint.Name, nil); err != nil {
				t.Errorf("a request to another endpoint: %v", err)
			}
			h.dial("Solo").ask("a client")
			time.Sleep(time.Second)
		}
		if s := n.Stats(); s.RequestsRefused != 2*maxRequests {
			t.Errorf("%d requests counted as refused, want %d", s.RequestsRefused, 2*maxRequests)
		}
	})
}
