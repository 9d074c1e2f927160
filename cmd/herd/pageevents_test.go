package main

import "testing"

// testPageEvents: the worker of all tabs keeps each event once, however often the feed is opened, so
// that a tab that comes later has them in their order.
func testPageEvents(t *testing.T, p *tab) {
	got := eval[string](p, `(async () => {
	  window.onconnect = null;
	  const Source = window.EventSource;
	  let source;
	  window.EventSource = class extends EventTarget { constructor() { super(); source = this; } close() {} };
	  await import(new URL("shared.js?test", location));
	  const open = () => {
	    const { port1, port2 } = new MessageChannel();
	    onconnect({ ports: [port1] });
	    const texts = [];
	    const granted = new Promise((resolve) => {
	      port2.onmessage = ({ data }) => {
	        if (data.type === "event") texts.push(data.value.text);
	        if (data.type === "grant") resolve(texts); // the last of its answers
	      };
	    });
	    port2.postMessage({ type: "keepalive", wants: true });
	    return granted;
	  };
	  const say = (...numbers) => numbers.forEach((n) => source.dispatchEvent(new MessageEvent("event", { data: JSON.stringify({ at: n, server: "A", kind: "up", text: String(n) }) })));
	  await open();
	  window.EventSource = Source;
	  say(1, 2, 3);
	  say(1, 2, 3, 4);
	  say(2, 3, 4, 5);
	  return (await open()).join(" ");
	})()`)
	if want := "1 2 3 4 5"; got != want {
		t.Errorf("a tab that comes late has the events %s, want %s", got, want)
	}
	got = module[string](t, p, "events.js", `
	  const all = document.createElement("div");
	  all.innerHTML = "<form><input name=text><select name=kind><option value=''></option></select></form><ol></ol><p></p><button></button>";
	  const [form, list, count, pause] = all.children;
	  const events = new m.EventList({ form, list, count, pause });
	  const shown = () => [...list.children].map((row) => row.lastChild.textContent).join(", ") + " (" + count.textContent + ")";
	  const filter = (text) => { form.elements.text.value = text; form.dispatchEvent(new Event("input")); };
	  events.add({ at: 1, server: "A", kind: "up", text: "one" });
	  events.add({ at: 1, server: "A", kind: "up", text: "one" });
	  pause.click();
	  events.add({ at: 2, server: "A", kind: "up", text: "two" });
	  filter("A:");
	  const paused = shown();
	  filter("two");
	  const none = shown();
	  pause.click();
	  return [paused, none, shown()].join("|");`)
	if want := "A: one (paused, 1 new)|No event matches. (paused, 1 new)|A: two (2 events)"; got != want {
		t.Errorf("the list shows %q, want %q", got, want)
	}
}

// testPageFlood: hops that come after the tap was turned off are not shown.
func testPageFlood(t *testing.T, p *tab) {
	got := module[string](t, p, "flood.js", `
	  const line = document.createElement("p");
	  const flood = new m.Flood({ hello: { servers: [1, 2] }, point: () => undefined }, line);
	  const said = [];
	  const say = (step) => { step(); said.push(line.textContent); };
	  say(() => flood.setTap(true, true));
	  say(() => flood.hop({ at: 1, from: "A", to: "B", client: "kiwi" }));
	  say(() => flood.setTap(false, true));
	  say(() => flood.hop({ at: 2, from: "A", to: "B", client: "emu" }));
	  say(() => flood.setTap(false, true));
	  say(() => flood.setTap(true, true));
	  return said.map((s) => s.slice(0, 15)).join("|");`)
	if want := "Traffic is low:|kiwi: all 2 ser|Traffic is high|Traffic is high|Traffic is high|Traffic is low:"; got != want {
		t.Errorf("the flood's line: %q, want %q", got, want)
	}
}
