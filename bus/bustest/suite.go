package bustest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"herd/bus"
)

// Bus is what the suite tests: one server's place on a bus.
type Bus interface {
	Run(ctx context.Context, h bus.Handler) error
	Send(ms ...bus.Message) error
	MaxData() int
	PublishEvent(kind, peer, text string) error
	SetNeighbours(names []string)
	Mute(names []string)
	JoinShared()
	Problem() error
}

// Harness is a bus under test. It is started when made.
type Harness struct {
	Bus   func(server string, epoch uint64, neighbours ...string) Bus
	Stop  func()
	Start func()
	// Tap returns once hear will be called for each message sent from then on, with
	// "<subject> <data>".
	Tap func(hear func(string))
}

const patience = 10 * time.Second // a bus that needs longer has failed

// TestBus runs the suite, each test on a harness of its own.
func TestBus(t *testing.T, harness func(t *testing.T) Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"delivers":                      testDelivers,
		"keeps order across lanes":      testOrder,
		"copies what it sends":          testCopies,
		"is disconnected outside Run":   testDisconnectedOutsideRun,
		"reconnects":                    testReconnects,
		"starts before the bus":         testStartsFirst,
		"one process for a name":        testNameTaken,
		"sends messages of MaxData":     testMaxData,
		"publishes events":              testPublishesEvents,
		"reports lost messages":         testSlowReceiver,
		"sends from several goroutines": testConcurrent,
		"changes neighbours":            testSetNeighbours,
		"heartbeats of strangers":       testStrangers,
		"mutes neighbours":              testMute,
		"sends frames of streams":       testStreams,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, harness(t))
		})
	}
}

type asyncError struct {
	Peer string
	Slow bool
}

// recorder is a Handler that keeps what it is called with.
type recorder struct {
	messages  chan bus.Message
	connected chan bool
	errors    chan asyncError
	batchEnd  chan struct{} // BatchEnd was called
	hold      chan struct{} // where not nil, Receive waits for it to be closed
}

func newRecorder() *recorder {
	return &recorder{messages: make(chan bus.Message, 30_000), connected: make(chan bool, 100), errors: make(chan asyncError, 10_000), batchEnd: make(chan struct{}, 1)}
}

func (r *recorder) Receive(m bus.Message) {
	if r.hold != nil {
		<-r.hold
	}
	r.messages <- m
}

func (r *recorder) BatchEnd() {
	select {
	case r.batchEnd <- struct{}{}:
	default:
	}
}

func (r *recorder) Answer(string, []byte) (bus.Reply, error) { return bus.Reply{}, bus.ErrUnknown }

func (r *recorder) Stream(bus.StreamRequest) error { return bus.ErrUnknown }

func (r *recorder) Connected(up bool) { r.connected <- up }

func (r *recorder) AsyncError(peer string, err error) {
	select {
	case r.errors <- asyncError{peer, errors.Is(err, bus.ErrSlow)}:
	default:
	}
}

// start runs b until the test ends and waits until it is connected.
func start(t *testing.T, b Bus) *recorder {
	t.Helper()
	r := newRecorder()
	run(t, b, r)
	expect(t, r.connected, true)
	return r
}

func run(t *testing.T, b Bus, r *recorder) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, r) }()
	ended := false
	stop = func() {
		cancel()
		if ended {
			return
		}
		ended = true
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run = %v, want nil after its context ended", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return after its context ended")
		}
	}
	t.Cleanup(stop)
	return stop
}

func expect[T any](t *testing.T, from <-chan T, want T) {
	t.Helper()
	select {
	case got := <-from:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	case <-time.After(patience):
		t.Fatalf("%v did not come", want)
	}
}

func send(t *testing.T, b Bus, m bus.Message) {
	t.Helper()
	if err := b.Send(m); err != nil {
		t.Errorf("Send on %s of %d bytes: %v", m.Lane, len(m.Data), err)
	}
}
