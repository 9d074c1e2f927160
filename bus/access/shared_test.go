package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"herd/bus"
	"herd/bus/access"
	"herd/bus/natsbus"
)

// TestSharedEndpoint: on a bus with accounts, a request at a shared endpoint is answered by one
// server that has joined, and while none has, the operator is told at once.
func TestSharedEndpoint(t *testing.T) {
	t.Parallel()
	b, second, third := startServers(t)
	cfg := natsbus.Config{URLs: []string{b.url}, Prefix: "herd", User: b.keys[access.OpsUser]}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if reply, err := natsbus.RequestShared(ctx, cfg, nearEndpoint, nil); !errors.Is(err, bus.ErrUnavailable) || !strings.Contains(err.Error(), "no server is ready") {
		t.Errorf("before any server has joined: %+v, %v", reply, err)
	}
	third.JoinShared()
	for {
		reply, err := natsbus.RequestShared(ctx, cfg, nearEndpoint, nil)
		if errors.Is(err, bus.ErrUnavailable) && ctx.Err() == nil { // not subscribed yet
			continue
		}
		if err != nil || reply.Server != "C" || string(reply.Data) != "status of C" {
			t.Errorf("%+v, %v, want the reply of C", reply, err)
		}
		break
	}
	for _, m := range []*member{second, third} {
		if len(m.trouble) > 0 {
			t.Errorf("%s: %s", m.name, <-m.trouble)
		}
	}
}

// joinShared makes servers answer requests at endpoints of bus.AnswerOne, and waits until each has answered one.
func (b *broker) joinShared(members ...*member) {
	b.t.Helper()
	cfg := natsbus.Config{URLs: []string{b.url}, Prefix: "herd", User: b.keys[access.OpsUser]}
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	answered := map[string]bool{}
	for _, m := range members {
		m.JoinShared()
	}
	for len(answered) < len(members) {
		reply, err := natsbus.RequestShared(ctx, cfg, restoreEndpoint, nil)
		if ctx.Err() != nil {
			b.t.Fatalf("only %v have answered: %v", answered, err)
		}
		if err == nil {
			answered[reply.Server] = true
		}
	}
}
