// Connects the parts of the page: what the feed says goes to those who show it.

import { Announcer } from "./announcer.js";
import { Clients } from "./clients.js";
import { byId, clip, clippedName, element, setAttribute, setFigure, setParts, setText, stateClass } from "./dom.js";
import { EventList } from "./events.js";
import { Flood } from "./flood.js";
import { Graph } from "./graph.js";
import { Land } from "./land.js";
import { Live } from "./live.js";
import { WorldMap } from "./map.js";
import { SIGNS, herdModel, totals } from "./model.js";
import { equalBytes, toText } from "./names.js";
import { OLD_AFTER, ago, count, plural, rate } from "./numbers.js";
import { Search } from "./search.js";
import { PairMatrix, ServerTable } from "./table.js";
import { TryIt } from "./tryit.js";

const LISTED = 100; // clients in the list of those in view

const NOTHING_YET = { servers: [], edges: [] };

let hello = null; // the topology
let herd = null; // the last state
let chosen = null; // the server or edge that is selected: {kind, key}
let isOld = true; // what is shown is old, as of the last render
let refused = ""; // why the page's server refuses the feed; "" while it does not
let tap; // whether single reports are told; undefined before the feed says it
let client = null; // the name of the selected client, as bytes

const announcer = new Announcer(byId("announcements"));
const graph = new Graph(byId("graph-picture"), (item) => {
  chosen = item;
  render();
});
const flood = new Flood(graph, byId("flood"));
const table = new ServerTable(byId("servers-rows"));
const pairs = new PairMatrix(byId("pairs-head"), byId("pairs-rows"), byId("differences"));
const events = new EventList({ form: byId("events-form"), list: byId("events-list"), count: byId("events-count"), pause: byId("events-pause") });
const tryIt = new TryIt({ report: byId("report"), form: byId("report-form"), reply: byId("report-reply"), actions: byId("selection-actions") });

const live = new Live({ receive, permit: (yes) => clients.permit(yes) });

function receive(type, value) {
  switch (type) {
    case "hello":
      if (JSON.stringify(value) === JSON.stringify(hello)) break; // a new connection to the same herd
      build(value);
      render();
      break;
    case "herd": {
      const wasOld = isOld;
      herd = value;
      refused = "";
      render();
      if (wasOld && !isOld) clients.retry(); // the herd is back
      break;
    }
    case "refused":
      refused = value;
      render();
      break;
    case "event":
      events.add(value);
      break;
    case "hop":
      flood.hop(value);
      break;
    case "tap":
      tap = value.tap;
      render();
  }
}

// title is the topology in the title: a name, or the beginning of a list of edges.
const title = () => clip(hello.topology, 40);

// shape is what the graph and the tables are built for. Addresses and the version may change without.
const shape = ({ servers, edges }) => JSON.stringify([servers.map((s) => [s.name, s.x, s.y]), edges]);

function build(value) {
  const isNew = !hello || shape(hello) !== shape(value);
  hello = value;
  setText(byId("topology"), title());
  byId("topology").title = title() === hello.topology ? "" : hello.topology;
  setText(byId("version"), `herd ${hello.version}`);
  byId("paths").hidden = !hello.controls; // the page of herd watch is alone at its address
  tryIt.build(hello);
  if (!isNew) return;
  for (const part of [graph, table, pairs]) part.build(hello);
}

// render shows the last state, and its age. It runs with each news, and each second without.
function render() {
  if (!hello) {
    const seconds = live.silence.seconds();
    if (seconds > OLD_AFTER) setText(byId("headline"), `No answer from the page's server for ${Math.floor(seconds)} s.${why()}`);
    return;
  }
  const model = herdModel(hello, herd ?? NOTHING_YET, live.silence.seconds());
  isOld = model.old;
  const note = model.never ? "not heard yet" : model.old ? `last heard ${ago(model.age)}` : "";
  for (const id of ["graph-age", "servers-age", "pairs-age"]) setText(byId(id), note);
  const headline = model.silence > OLD_AFTER ? model.headline + why() : model.headline;
  setParts(byId("headline"), headline, ...(model.busWhy ? [" ", element("small", { title: model.busWhy }, model.busWhy)] : []));
  document.title = `${model.well ? "" : "! "}herd ${title()}`;
  showConnection(model);
  const figures = totals(model);
  for (const name of ["servers", "edges", "clients", "rate"]) {
    const age = name === "servers" || name === "edges" ? model.age : figures.age;
    setFigure(byId(`total-${name}`), figures[name], age, !model.never && (model.old || age > OLD_AFTER));
  }
  graph.update(model);
  table.update(model);
  pairs.update(model);
  if (tap !== undefined) flood.setTap(tap, !model.old);
  if (herd) announcer.update(model);
  showSelection(model);
}

// why says with which line the page's server refuses the feed.
const why = () => (refused ? ` The page's server says: ${refused.replace(/\.$/, "")}.` : "");

function showConnection(model) {
  let [state, text] = ["up", "live"];
  if (model.silence > OLD_AFTER) [state, text] = ["unknown", "the page is cut off"];
  else if (model.bus === "disconnected") [state, text] = ["down", "NATS disconnected"];
  else if (model.never) [state, text] = ["unknown", "connecting"];
  else if (model.old) [state, text] = ["unknown", "silent"];
  const pill = byId("connection");
  setAttribute(pill, "class", `pill ${stateClass(state)}`);
  if (pill.textContent === `${SIGNS[state]} ${text}`) return;
  // New elements, so that nothing is seen to move.
  pill.replaceChildren(element("span", { "aria-hidden": "true" }, SIGNS[state]), " ", element("span", {}, text));
}

function showSelection(model) {
  if (!chosen) return;
  const item = chosen.kind === "server" ? model.servers.find((s) => s.name === chosen.key) : model.edges.find((e) => e.key === chosen.key);
  if (!item) { // the topology has changed
    chosen = null;
    setText(byId("selection-title"), "Nothing selected");
    setText(byId("selection-text"), "Select a server or an edge for its details.");
    byId("selection-actions").replaceChildren();
    return;
  }
  setText(byId("selection-title"), chosen.kind === "server" ? item.name : `${item.a} – ${item.b}`);
  const address = chosen.kind === "server" && item.address ? ` Clients connect to ${item.address}.` : "";
  setText(byId("selection-text"), `${item.words[0].toUpperCase()}${item.words.slice(1)}.${address}`);
  tryIt.show(chosen.kind, item);
}

// The map.

const land = new Land();
const clients = new Clients({
  changed: () => {
    const selected = client ? clients.store.find(client) : -1;
    map.setStore(clients.store, selected);
  },
  positioned: (store, index) => {
    if (client && store.nameLength[index] === client.length && equalBytes(store.name(index), client)) {
      map.addToTrail(store, index);
    }
  },
});
const map = new WorldMap({
  box: byId("map-picture"),
  land,
  landCanvas: byId("map-land"),
  pointsCanvas: byId("map-points"),
  marksCanvas: byId("map-marks"),
  follow: (box) => {
    clients.show(box);
    live.wantMap();
  },
  pick: (index, lat, lon) => {
    if (tryIt.placing) tryIt.place(lat, lon);
    else if (index >= 0) search.find(clients.store.name(index).slice());
  },
  drawn: () => describeMap(),
  name: (index) => clip(toText(clients.store.name(index))),
});
land.load().then(() => map.invalidate("land"));
byId("map-in").addEventListener("click", () => map.zoom(2));
byId("map-out").addEventListener("click", () => map.zoom(0.5));
byId("map-world").addEventListener("click", () => map.world());
byId("report").addEventListener("toggle", () => byId("map-picture").classList.toggle("placing", tryIt.placing));

let updates = { store: null, n: 0, at: 0, perSecond: 0 };

// describeMap says in words what the map shows, and how old it is.
function describeMap() {
  const { store } = clients;
  const age = clients.silence.seconds();
  const now = performance.now();
  if (updates.store !== store || !store.live) updates = { store, n: store.updates, at: now, perSecond: 0 };
  else if (now - updates.at >= 1000) updates = { store, n: store.updates, at: now, perSecond: ((store.updates - updates.n) * 1000) / (now - updates.at) };
  const { visible } = map.points;
  const told = store.live || store.count > 0;
  const summary = told ? `${plural(visible, "client")} in view (${map.words}), ${rate(Math.round(updates.perSecond))} updates per second.` : noClients();
  setFigure(byId("map-summary"), summary, told ? age : undefined);
  const old = told && age > OLD_AFTER;
  setText(byId("map-age"), old ? `last heard ${ago(age)}${clients.waiting ? ": other tabs have the stream" : clients.problem ? `: ${clients.problem}` : ""}` : "");
  byId("map-picture").classList.toggle("is-old", old);
  const empty = byId("map-empty");
  empty.hidden = visible > 0 || !store.live;
  setText(empty.firstElementChild, emptyMap());
  const legend = map.points.dense ? "The stronger the colour, the more clients." : "A disc is a client. Select one for its records and its trail.";
  setText(byId("map-legend"), map.points.marked ? `${legend} Orange has just moved.` : legend);
}

// emptyMap says why no client is in view.
function emptyMap() {
  if (clients.store.count > 0) return "No client is in view.";
  if (herd?.servers.some((s) => s.clients > 0)) return "No client is in this area.";
  return tryIt.allowed ? "No client is here yet. Send a report, below." : "No client is here.";
}

// noClients says why the map has none to show.
function noClients() {
  if (clients.waiting) return "Other tabs show the clients. This one waits for its turn.";
  return clients.problem ? `No clients: ${clients.problem}.` : "Waiting for the clients …";
}

function listClients() {
  if (!byId("in-view").open) return;
  const indexes = map.inView(LISTED);
  const names = indexes.map((i) => clients.store.name(i).slice());
  const { visible } = map.points;
  const more = names.length < visible ? `The first ${count(names.length)} of ${count(visible)}; zoom in for others.` : "";
  setText(byId("in-view-text"), names.length === 0 ? "None." : more);
  const list = byId("in-view-list");
  if (list.contains(document.activeElement)) return; // it stays while somebody is in it
  list.replaceChildren(
    ...names.map((name) => {
      const button = element("button", { type: "button" }, clippedName(toText(name)));
      button.addEventListener("click", () => search.find(name));
      return element("li", {}, button);
    }),
  );
}
byId("in-view").addEventListener("toggle", listClients);

// Search.

const search = new Search({
  form: byId("search-form"),
  near: byId("near-form"),
  result: byId("search-result"),
  age: byId("search-age"),
  say: (sentence) => announcer.say("search", sentence),
  show: (marks) => map.setMarks(marks),
  found: (name, lat, lon, km = 10) => {
    const isSame = client && name && equalBytes(client, name);
    client = name;
    if (!isSame) map.clearTrail();
    map.setStore(clients.store, name ? clients.store.find(name) : -1);
    map.go(lat, lon, Math.min(2 ** 14, 8000 / Math.max(1, km)));
  },
});
search.start();

// Keys of one letter can be turned off, for those who speak to their computer. Without storage the
// choice holds until the page is closed.
const shortcuts = byId("shortcuts");
try {
  shortcuts.checked = localStorage.getItem("herd shortcuts") !== "off";
} catch {
  // The browser keeps nothing for this page.
}
shortcuts.addEventListener("change", () => {
  try {
    localStorage.setItem("herd shortcuts", shortcuts.checked ? "on" : "off");
  } catch {
    // As above.
  }
});

addEventListener("keydown", (e) => {
  if (!shortcuts.checked || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea")) return;
  const targets = { "/": () => byId("search-form").elements.client.focus(), g: () => graph.focus(), m: () => byId("map-picture").focus() };
  if (!(e.key in targets)) return;
  targets[e.key]();
  e.preventDefault();
});

setInterval(() => {
  if (!herd || live.silence.seconds() + (herd.heard ?? 0) > 1.5) render();
  describeMap();
}, 500);
setInterval(listClients, 3000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    render();
    describeMap();
  }
});
