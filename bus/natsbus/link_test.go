package natsbus

import "testing"

// TestLink: the handler learns of each connection that was ready before it was lost, and of
// its loss. It learns of nothing else.
func TestLink(t *testing.T) {
	h := newReceiver()
	l := newLink(h)
	expectNothing := func(when string) {
		t.Helper()
		if len(h.connected) > 0 {
			t.Fatalf("%s: Connected(%v)", when, <-h.connected)
		}
	}
	number := 0 // of the present connection

	l.disconnected(number)
	expectNothing("a first attempt failed")
	number = l.begin()
	first := number
	expectNothing("connected, and not yet ready")
	l.disconnected(number)
	if l.report(first) {
		t.Error("a connection was reported that had been lost")
	}
	number = l.begin()
	if l.report(first) {
		t.Error("a connection was reported that had been replaced")
	}
	expectNothing("lost before it was ready")
	if !l.report(number) {
		t.Error("a connection was not reported")
	}
	expect(t, "ready", h.connected, true)
	if l.report(number) {
		t.Error("a connection was reported twice")
	}
	l.disconnected(number)
	expect(t, "lost", h.connected, false)
	l.disconnected(number)
	expectNothing("lost already")
	number = l.begin()
	l.report(number)
	expect(t, "ready again", h.connected, true)
	l.close()
	l.disconnected(number)
	expectNothing("we disconnected ourselves")
}
