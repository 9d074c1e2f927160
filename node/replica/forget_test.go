package replica

import (
	"errors"
	"testing"
	"time"
)

// TestForgetAgain: a tombstone stays when its client is forgotten again. Otherwise two operators
// who forget the same client would flood the herd for nothing.
func TestForgetAgain(t *testing.T) {
	t.Parallel()
	s := newStreamed(t, "")
	if _, err := s.r.Forget(nil, []byte("kiwi"), s.now); !errors.Is(err, ErrUnknown) {
		t.Errorf("Forget of an unknown client: %v, want %v", err, ErrUnknown)
	}
	s.report("kiwi", "+1+1")
	first, err := s.r.Forget(nil, []byte("kiwi"), s.now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.r.Forget(nil, []byte("kiwi"), s.now.Add(time.Hour))
	if err != nil || string(again) != string(first) {
		t.Errorf("Forget again = %q, %v, want the same tombstone %q", again, err, first)
	}
	for line := range s.r.Map().Lines() {
		if line != string(first) {
			t.Errorf("the map has %q, want the tombstone %q", line, first)
		}
	}
}
