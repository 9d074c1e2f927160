package natsbus

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// TestRefusalIsRead: a broker that refuses a connection and hangs up is heard each time, also
// when it has hung up before we write.
func TestRefusalIsRead(t *testing.T) {
	t.Parallel()
	s := startServer(t, &server.Options{MaxConn: -1})
	b := New(Config{URLs: []string{s.ClientURL()}, Prefix: "herd", Server: "A", Epoch: 1, Log: testLog(t)})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r, err := newRun(ctx, cancel, b, newReceiver())
	if err != nil {
		t.Fatal(err)
	}
	for range runtime.GOMAXPROCS(0) { // so that we are slower than the broker
		go func() {
			for ctx.Err() == nil {
				runtime.Gosched()
			}
		}()
	}
	for range 200 {
		if _, err := r.dial(attempt{url: s.ClientURL(), patience: 2 * time.Second}); err == nil || !strings.Contains(err.Error(), "maximum connections exceeded") {
			t.Fatalf("dial = %v, want maximum connections exceeded", err)
		}
	}
}
