package journal

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// slowMessages is a stream whose next message takes a while to read.
type slowMessages struct {
	jetstream.MessagesContext
	ready time.Time
	err   error // at that time, if not nil
}

// slowMessage is that message.
type slowMessage struct{ jetstream.Msg }

func (m slowMessages) Next(...jetstream.NextOpt) (jetstream.Msg, error) {
	if wait := time.Until(m.ready); wait > ackTimeout {
		time.Sleep(ackTimeout)
		return nil, nats.ErrTimeout
	}
	time.Sleep(time.Until(m.ready))
	return slowMessage{}, m.err
}

// TestSlowRead: a read that takes long is waited for. It ends with an error only after
// readTimeout, or when the storage engine fails.
func TestSlowRead(t *testing.T) {
	failed := errors.New("the engine failed")
	for _, tt := range []struct {
		name string
		took time.Duration
		err  error
		want error
		most time.Duration
	}{
		{"slow", 10 * ackTimeout, nil, nil, 10 * ackTimeout},
		{"failed", ackTimeout / 2, failed, failed, ackTimeout / 2},
		{"never", time.Hour, nil, nats.ErrTimeout, readTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			j := New(Config{Log: slog.New(slog.DiscardHandler)})
			began := time.Now()
			m, err := j.nextFrame(slowMessages{ready: began.Add(tt.took), err: tt.err})
			if !errors.Is(err, tt.want) || tt.want == nil && m == nil || time.Since(began) > tt.most {
				t.Errorf("%s: nextFrame = %v, %v after %v, want error %v after %v at most", tt.name, m, err, time.Since(began), tt.want, tt.most)
			}
		})
	}
}

// TestNoCompactionAfterUnread: a journal that was not read to its end is not compacted:
// that would drop what was not read.
func TestNoCompactionAfterUnread(t *testing.T) {
	j := Journal{size: compactAbove + 1}
	if !j.NeedsCompaction(0) {
		t.Fatal("a journal much larger than the map needs no compaction")
	}
	j.unread = true
	if j.NeedsCompaction(0) {
		t.Error("a journal with an unread rest is to be compacted")
	}
}
