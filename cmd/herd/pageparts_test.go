package main

import (
	"fmt"
	"strings"
	"testing"
)

// testPageParts tests modules of the page by themselves, within one tab.
func testPageParts(t *testing.T, b browser) {
	h := startUp(t, "A-B")
	p := b.open(t, h.ops+"/", desktop)
	p.awaitText("#headline", "^All 2 servers are up")
	for name, test := range map[string]func(*testing.T, *tab){
		"area": testPageArea,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
}

// module evaluates the body of an async function of the page. The module's exports are in m.
func module[T any](t *testing.T, p *tab, name, body string) T {
	t.Helper()
	return eval[T](p, fmt.Sprintf("import(new URL(%q, location)).then(async (m) => { %s })", name, body))
}

// testPageArea: at every zoom and position, the area that the map follows covers what it shows.
func testPageArea(t *testing.T, p *tab) {
	faults := module[[]string](t, p, "area.js", `
	  const faults = [];
	  for (let share = 0.02; share <= 1; share += 0.01) {
	    for (let left = 0; left < 1; left += 0.05) {
	      const size = 1000;
	      const view = { left, top: 0.3, size, width: share * size, height: 0.3 * share * size };
	      const box = new m.Area().next(view);
	      if (box === null) continue;
	      const spans = (lon) => (((lon - box.west) % 360) + 360) % 360;
	      const wide = spans(box.east);
	      const covered = [0, 0.25, 0.5, 0.75, 1].every((part) => spans((left + part * share - 0.5) * 360) <= wide);
	      if (!covered || wide < 360 * share) faults.push("share " + share.toFixed(2) + ", left " + left.toFixed(2) + ": from " + box.west + " to " + box.east);
	    }
	  }
	  return faults;`)
	if len(faults) > 0 {
		t.Errorf("%d areas do not cover the picture, such as %s", len(faults), strings.Join(faults[:min(3, len(faults))], "; "))
	}
}
