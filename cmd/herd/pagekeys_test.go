package main

import (
	"fmt"
	"testing"
)

// testPageKeys: keys of one letter can be turned off, and stay off when the page loads again. The
// graph leaves keys with Alt or Ctrl to the browser.
func testPageKeys(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 2 servers are up")
	// taken tells whether the page keeps a key on an element from the browser.
	taken := func(selector, key, more string) bool {
		t.Helper()
		return eval[bool](p, fmt.Sprintf("!document.querySelector(%q).dispatchEvent(new KeyboardEvent('keydown', { key: %q, bubbles: true, cancelable: true, %s }))", selector, key, more))
	}
	server := label("A, server, ")
	for _, c := range []struct {
		selector, key, more string
		want                bool
	}{
		{server, "ArrowLeft", "", true},
		{server, "ArrowLeft", "altKey: true", false},
		{server, "Home", "ctrlKey: true", false},
		{"main", "m", "", true},
		{"main", "m", "ctrlKey: true", false},
	} {
		if got := taken(c.selector, c.key, c.more); got != c.want {
			t.Errorf("%s, %s on %s: the page takes it: %v, want %v", c.key, c.more, c.selector, got, c.want)
		}
	}
	p.click("#shortcuts")
	if taken("main", "m", "") {
		t.Error("the page takes m although its keys are turned off")
	}
	eval[bool](p, "(location.reload(), true)")
	p.await("performance.getEntriesByType('navigation')[0].type === 'reload'")
	p.awaitText("#headline", "^All 2 servers are up")
	if taken("main", "m", "") {
		t.Error("the page takes m after it was loaded again")
	}
}
