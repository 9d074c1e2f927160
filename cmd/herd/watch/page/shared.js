// The worker that all tabs with this page share. A browser opens only six connections to one
// address, so tabs share one feed, and at most three of them have a stream of clients at a time.
//
// A tab says "here" every few seconds, "map" when it wants a stream of clients or no longer
// wants one, and "bye" when it is hidden or closed. It is told what the feed says, and whether it
// may have a stream.

import { Feed } from "./feed.js";
import { Silence } from "./silence.js";

const MAPS = 3; // tabs with a stream of clients
const LOST = 30000; // ms after which a tab that says nothing is gone
const KEPT = 100; // events for tabs that come later

const tabs = new Map(); // by port: {heard, wants, has}
const last = new Map(); // the last hello, herd and tap
const events = [];

const feed = new Feed((type, value) => {
  if (type === "event") {
    events.push(value);
    if (events.length > KEPT) events.shift();
  } else if (type !== "hop") last.set(type, { value, silence: new Silence() });
  for (const port of tabs.keys()) port.postMessage({ type, value, age: 0 });
});

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data.type === "bye") leave(port);
    else {
      const tab = tabs.get(port) ?? arrive(port);
      tab.heard = performance.now();
      if (data.type === "map") {
        // The order of the map is the order of the tabs that wait.
        if (data.wants && !tab.wants) {
          tabs.delete(port);
          tabs.set(port, tab);
        }
        tab.wants = data.wants;
        share();
      }
    }
  };
  port.start();
};

function arrive(port) {
  const tab = { heard: 0, wants: false, has: false };
  tabs.set(port, tab);
  port.postMessage({ type: "here" });
  feed.open();
  for (const type of ["hello", "herd", "tap"]) {
    const said = last.get(type);
    if (said) port.postMessage({ type, value: said.value, age: said.silence.seconds() });
  }
  for (const value of events) port.postMessage({ type: "event", value, age: 0 });
  return tab;
}

function leave(port) {
  tabs.delete(port);
  if (tabs.size === 0) feed.close();
  share();
}

// share gives streams to the tabs that have waited longest.
function share() {
  let left = MAPS;
  for (const tab of tabs.values()) left -= tab.has && tab.wants ? 1 : 0;
  for (const [port, tab] of tabs) {
    const has = tab.wants && (tab.has || left > 0);
    if (has && !tab.has) left--;
    if (has !== tab.has) port.postMessage({ type: "map", value: has });
    tab.has = has;
  }
}

setInterval(() => {
  for (const [port, tab] of tabs) {
    if (performance.now() - tab.heard > LOST) leave(port);
  }
}, 5000);
