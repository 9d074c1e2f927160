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
	number := func() int { n, _ := l.current(); return n }

	l.disconnected()
	expectNothing("a first attempt failed")
	l.connected()
	first := number()
	expectNothing("connected, and not yet ready")
	l.disconnected()
	if l.report(first) {
		t.Error("a connection was reported that had been lost")
	}
	l.connected()
	if l.report(first) {
		t.Error("a connection was reported that had been replaced")
	}
	expectNothing("lost before it was ready")
	if !l.report(number()) {
		t.Error("a connection was not reported")
	}
	expect(t, "ready", h.connected, true)
	if l.report(number()) {
		t.Error("a connection was reported twice")
	}
	l.disconnected()
	expect(t, "lost", h.connected, false)
	l.disconnected()
	expectNothing("lost already")
	l.connected()
	l.report(number())
	expect(t, "ready again", h.connected, true)
	l.close()
	l.disconnected()
	expectNothing("we disconnected ourselves")
}
