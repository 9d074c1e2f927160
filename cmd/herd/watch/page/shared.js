// The worker that all tabs with this page share. A browser opens only six connections to one
// address, so tabs share one feed, and at most three of them have a stream of clients at a time.
//
// A tab sends "keepalive" every few seconds, with whether it wants a stream of clients, "focus" when
// its window gets the focus, and "leave" when it is hidden or closed. The worker answers the first two
// with "alive", so that a tab notices a worker that has ended. It sends what the feed says, and "grant"
// with whether the tab may have the stream that it wants: the tabs that were opened or used last have
// one. When these messages change, the worker needs another name: see live.js.

import { EventLog } from "./eventlog.js";
import { Feed } from "./feed.js";
import { Silence } from "./silence.js";

const MAPS = 3; // tabs with a stream of clients
const LOST = 30000; // ms after which a tab that says nothing is gone
const KEPT = 100; // events for tabs that come later

const tabs = new Map(); // by port: {heard, wants, has}, the tab that was used last at the end
const last = new Map(); // the last hello, herd and tap
const events = new EventLog(KEPT);

const feed = new Feed((type, value) => {
  if (type === "event") {
    if (!events.add(value)) return;
  } else if (type !== "hop" && type !== "refused") last.set(type, { value, silence: new Silence() });
  for (const port of tabs.keys()) port.postMessage({ type, value, age: 0 });
});

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data.type === "leave") {
      leave(port);
      return;
    }
    port.postMessage({ type: "alive" });
    const tab = tabs.get(port) ?? arrive(port);
    tab.heard = performance.now();
    if (data.type === "focus") {
      tabs.delete(port);
      tabs.set(port, tab);
    } else tab.wants = data.wants;
    share();
  };
  port.start();
};

function arrive(port) {
  const tab = { heard: 0, wants: false, has: undefined }; // undefined: it has not been told
  tabs.set(port, tab);
  feed.open();
  for (const type of ["hello", "herd", "tap"]) {
    const said = last.get(type);
    if (said) port.postMessage({ type, value: said.value, age: said.silence.seconds() });
  }
  for (const value of events.list) port.postMessage({ type: "event", value, age: 0 });
  return tab;
}

function leave(port) {
  tabs.delete(port);
  if (tabs.size === 0) feed.close();
  share();
}

// share gives streams to the tabs that were used last, and tells the others that they wait. Streams
// are taken away first, so that there are never more than MAPS.
function share() {
  const wanting = [...tabs].filter(([, tab]) => tab.wants);
  const having = new Set(wanting.slice(-MAPS).map(([port]) => port));
  const told = [...tabs].filter(([, tab]) => tab.wants || tab.has);
  for (const has of [false, true]) {
    for (const [port, tab] of told) {
      if (having.has(port) !== has || tab.has === has) continue;
      port.postMessage({ type: "grant", value: has });
      tab.has = has;
    }
  }
}

setInterval(() => {
  for (const [port, tab] of tabs) {
    if (performance.now() - tab.heard > LOST) leave(port);
  }
}, 5000);
