// The graph: servers and edges as SVG, each an item that can be selected with a pointer or
// the keyboard, and that says in words what its picture shows.

import { setAttribute, setText, stateClass, svg } from "./dom.js";
import { OLD_AFTER, ago, plural, rate } from "./numbers.js";

// Outlines of servers by state, for a radius of 1. A server that is up is a circle.
const SHAPES = {
  starting: "M1 0L.5 .87L-.5 .87L-1 0L-.5-.87L.5-.87Z",
  "not ready": "M0-1.1L1.15 .85L-1.15 .85Z",
  down: "M-.9-.9L.9-.9L.9 .9L-.9 .9Z",
  unknown: "M0-1.2L1.2 0L0 1.2L-1.2 0Z",
};

// Signs within them, and on edges that are not in step or have no room for a word.
const MARKS = {
  up: "M-.42 .02L-.1 .34L.46-.32",
  starting: "M-.45 0L-.44 0M0 0L.01 0M.45 0L.46 0",
  "not ready": "M0-.3L0 .2M0 .52L0 .53",
  "in step": "M-.42 .02L-.1 .34L.46-.32",
  behind: "M-.4-.35L-.05 0L-.4 .35M.1-.35L.45 0L.1 .35",
  down: "M-.38-.38L.38 .38M.38-.38L-.38 .38",
  cut: "M-.4 .4L-.05-.4M.1 .4L.45-.4",
  unknown: "M-.28-.25C-.28-.62 .3-.62 .3-.22C.3 .05 0 .02 0 .28M0 .52L0 .53",
};

const STRETCH = 2.2; // how much more the drawing may be stretched in one direction than in the other
const DENSE = 8; // servers beyond which labels are smaller and figures are left out
const ROOMY = 500; // pixels of width from which labels may be long
const MOST_MORE = 16; // rem by which the picture of a dense graph is higher at most

const scaled = (path, radius) => path.replace(/-?\d*\.?\d+/g, (number) => `${(number * radius).toFixed(2)} `);

const circle = (r) => `M${r} 0A${r} ${r} 0 1 1 ${-r} 0A${r} ${r} 0 1 1 ${r} 0Z`;

export class Graph {
  #items = []; // servers, then edges, in the order of the keyboard
  #current = 0;

  // choose is called with the item that was selected: {kind: "server"|"edge", key}.
  constructor(box, choose) {
    this.box = box;
    this.choose = choose;
    this.root = svg("svg", { role: "group", "aria-label": "Graph of the herd. Arrow keys go from one server or edge to the next." });
    this.edgeLayer = svg("g");
    this.traceLayer = svg("g", { "aria-hidden": "true" });
    this.floodLayer = svg("g", { "aria-hidden": "true" });
    this.serverLayer = svg("g");
    this.root.append(this.traceLayer, this.edgeLayer, this.floodLayer, this.serverLayer);
    box.append(this.root);
    this.root.addEventListener("keydown", (e) => this.#key(e));
    new ResizeObserver(() => this.#place()).observe(box);
  }

  // build makes the items of a topology.
  build(hello) {
    const focused = this.#items.find((item) => item.group === document.activeElement)?.key;
    this.hello = hello;
    this.dense = hello.servers.length > DENSE;
    this.root.setAttribute("class", this.dense ? "dense" : "");
    this.box.style.setProperty("--more", this.dense ? Math.min(MOST_MORE, hello.servers.length - DENSE) : 0);
    this.edges = hello.edges.map((e) => this.#makeEdge(e));
    this.servers = hello.servers.map((s) => this.#makeServer(s));
    this.edgeLayer.replaceChildren(...this.edges.map((e) => e.group));
    this.serverLayer.replaceChildren(...this.servers.map((s) => s.group));
    this.#items = [...this.servers, ...this.edges];
    this.#current = 0;
    for (const [i, item] of this.#items.entries()) {
      item.group.setAttribute("tabindex", i === 0 ? "0" : "-1");
      item.group.addEventListener("click", () => this.#select(item));
      item.group.addEventListener("focus", () => this.#moveTo(i));
    }
    this.#place();
    if (focused !== undefined) (this.#items.find((item) => item.key === focused) ?? this.#items[0])?.group.focus();
  }

  #makeServer(s) {
    const item = { kind: "server", key: s.name, place: s };
    item.halo = svg("path", { class: "halo" });
    item.shape = svg("path", { class: "shape" });
    item.sign = svg("path", { class: "sign" });
    item.name = svg("text", { class: "name" }, s.name);
    item.state = svg("text", { class: "state" });
    item.figure = svg("text", { class: "figure" });
    item.group = this.#makeGroup("server", s.name, item.halo, item.shape, item.sign, item.name, item.state, item.figure);
    return item;
  }

  #makeEdge(e) {
    const item = { kind: "edge", key: `${e.a} ${e.b}`, place: e };
    item.halo = svg("path", { class: "halo" });
    item.bar = svg("path", { class: "bar" });
    item.hit = svg("path", { class: "hit" });
    item.shape = svg("path", { class: "shape" });
    item.sign = svg("path", { class: "sign" });
    item.state = svg("text", { class: "state" });
    item.group = this.#makeGroup("edge", `${e.a} to ${e.b}`, item.halo, item.bar, item.hit, item.shape, item.sign, item.state);
    return item;
  }

  #makeGroup(kind, name, ...parts) {
    const attributes = { class: `item ${kind} unknown`, role: "button", "aria-pressed": "false", "aria-label": `${name}, ${kind}` };
    return svg("g", attributes, ...parts);
  }

  // place lays everything out in the present size of the box, in pixels.
  #place() {
    const { width, height } = this.box.getBoundingClientRect();
    if (!this.hello || width === 0) return;
    setAttribute(this.root, "viewBox", `0 0 ${width} ${height}`);
    const side = this.dense ? 34 : 48;
    const top = this.dense ? 16 : 74;
    const bottom = this.dense ? 38 : 66;
    this.radius = this.dense ? (width < 600 ? 8 : 11) : 17;
    this.points = this.#fit(side, top, width - 2 * side, height - top - bottom);
    this.roomy = !this.dense && width >= ROOMY;
    this.labels = []; // of servers: middle, and half of their size
    const highest = Math.min(...this.servers.map((s) => this.points.get(s.key).y));
    for (const item of this.servers) {
      const { x, y } = this.points.get(item.key);
      item.group.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
      item.halo.setAttribute("d", circle(Math.max(12, this.radius + 6)));
      const line = this.dense ? 11 : 15;
      // Edges of a server at the top go down, so its label goes above it.
      const first = y < highest + 20 && this.#isAbove(item) && !this.dense ? -this.radius - 2 * line - 10 : this.radius + (this.dense ? 10 : 17);
      const letters = Math.max(item.key.length * 7.5, this.dense ? 0 : 78);
      this.labels.push({ x, y: y + first + line - 4, wide: letters / 2, high: 1.5 * line });
      item.name.setAttribute("y", first);
      item.state.setAttribute("y", first + line);
      item.figure.setAttribute("y", first + 2 * line);
    }
    for (const item of this.edges) {
      const a = this.points.get(item.place.a);
      const b = this.points.get(item.place.b);
      const d = `M${a.x.toFixed(1)} ${a.y.toFixed(1)}L${b.x.toFixed(1)} ${b.y.toFixed(1)}`;
      for (const e of [item.halo, item.bar, item.hit]) e.setAttribute("d", d);
      item.middle = this.#clearPoint(a, b);
      for (const e of [item.shape, item.sign]) e.setAttribute("transform", `translate(${item.middle.x.toFixed(1)} ${item.middle.y.toFixed(1)})`);
    }
    if (this.model) this.update(this.model);
  }

  // fit spreads the drawing over a rectangle, but distorts it by no more than the factor STRETCH.
  #fit(left, top, width, height) {
    const xs = this.servers.map((s) => s.place.x);
    const ys = this.servers.map((s) => s.place.y);
    const range = (v) => [Math.min(...v), Math.max(...v) - Math.min(...v)];
    const [x0, wide] = range(xs);
    const [y0, high] = range(ys);
    let across = wide > 0 ? width / wide : Infinity;
    let down = high > 0 ? height / high : Infinity;
    across = Math.min(across, down * STRETCH);
    down = Math.min(down, across * STRETCH);
    if (wide === 0 && high === 0) across = down = 0;
    const dx = left + (width - wide * across) / 2;
    const dy = top + (height - high * down) / 2;
    return new Map(this.servers.map((s) => [s.key, { x: dx + (s.place.x - x0) * across, y: dy + (s.place.y - y0) * down }]));
  }

  // isAbove reports whether most neighbours of a server are below it.
  #isAbove(item) {
    let below = 0;
    const { y } = this.points.get(item.key);
    for (const { place } of this.edges) {
      const other = place.a === item.key ? place.b : place.b === item.key ? place.a : null;
      if (other) below += this.points.get(other).y > y + 20 ? 1 : -1;
    }
    return below > 0;
  }

  // clearPoint is where the sign and the label of an edge go: near its middle, and where they
  // cover no label of a server. free is whether there is room for them.
  #clearPoint(a, b) {
    const points = [0.5, 0.42, 0.58, 0.34, 0.66].map((t) => ({ x: a.x + t * (b.x - a.x), y: a.y + t * (b.y - a.y) }));
    const [beside, between] = this.roomy ? [24, 60] : [14, 44];
    const free = (p) => this.labels.every((l) => Math.abs(p.x - l.x) > l.wide + beside || Math.abs(p.y - l.y) > l.high + 10);
    const short = Math.hypot(b.x - a.x, b.y - a.y) < 2 * this.radius + between;
    const best = points.find(free);
    return { ...(best ?? points[0]), free: best !== undefined && !short };
  }

  // update shows the state of the herd.
  update(model) {
    this.model = model;
    if (!this.points) return;
    for (const item of this.servers) {
      const s = model.servers.find((s) => s.name === item.key);
      if (!s) continue;
      this.#setState(item, "server", s, this.radius);
      const isOld = s.age > OLD_AFTER && !model.old;
      setText(item.state, isOld && this.dense ? `${s.state}, ${ago(s.age)}` : s.state);
      if (!this.dense) setText(item.figure, this.#serverFigure(s, model, isOld));
      setAttribute(item.group, "aria-label", `${s.name}, server, ${s.words}`);
    }
    const busy = model.edges.some((e) => e.rate >= 1);
    for (const item of this.edges) {
      const e = model.edges.find((e) => e.key === item.key);
      if (!e) continue;
      const fine = e.state === "in step";
      const label = this.#edgeLabel(item, e, busy);
      const bare = fine && (label !== "" || this.dense); // without a sign
      this.#setState(item, "edge", e, bare ? 0 : fine || this.dense ? 7 : 10);
      item.bar.setAttribute("stroke-width", ((this.dense ? 0.45 : 1) * (2 + Math.min(9, 0.8 * Math.log2(1 + e.rate)))).toFixed(1));
      setText(item.state, label);
      item.state.setAttribute("x", item.middle.x.toFixed(1));
      item.state.setAttribute("y", (item.middle.y + (fine ? 4 : this.dense ? 17 : 24)).toFixed(1));
      setAttribute(item.group, "aria-label", `${e.a} to ${e.b}, edge, ${e.words}`);
    }
  }

  // serverFigure is the text below a server's state: its clients, or how long ago it was heard.
  #serverFigure(s, model, isOld) {
    if (model.never) return "";
    if (model.old) return ago(model.age);
    if (isOld) return `${this.roomy ? "last heard " : ""}${ago(s.age)}`;
    return s.clients === undefined ? "" : plural(s.clients, "client");
  }

  // edgeLabel is the text beside an edge; "" where there is no room for it. busy is whether any edge has traffic: then
  // edges in step have their rates.
  #edgeLabel(item, e, busy) {
    if (e.state !== "in step") return this.dense && this.model.old ? "" : e.state;
    if (this.dense || !item.middle.free) return "";
    return busy ? `${rate(e.rate)}/s` : "in step";
  }

  #setState(item, kind, { state }, radius) {
    const chosen = this.chosen === item.key ? " selected" : "";
    setAttribute(item.group, "class", `item ${kind} ${stateClass(state)}${chosen}`);
    setAttribute(item.group, "aria-pressed", chosen ? "true" : "false");
    if (item.drawn === `${state} ${radius}`) return;
    item.drawn = `${state} ${radius}`;
    const mark = MARKS[state] ?? (radius > 0 ? MARKS.unknown : "");
    const round = kind === "edge" || state === "up";
    item.shape.setAttribute("d", radius === 0 ? "" : round ? circle(radius) : scaled(SHAPES[state] ?? SHAPES.unknown, radius));
    item.sign.setAttribute("d", radius === 0 ? "" : scaled(mark, radius));
  }

  #select(item) {
    this.chosen = item.key;
    this.#moveTo(this.#items.indexOf(item));
    if (this.model) this.update(this.model);
    this.choose({ kind: item.kind, key: item.key });
  }

  // moveTo makes an item the one that the tab key reaches.
  #moveTo(index) {
    this.#items[this.#current]?.group.setAttribute("tabindex", "-1");
    this.#current = index;
    this.#items[index].group.setAttribute("tabindex", "0");
  }

  #key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const n = this.#items.length;
    let to = -1;
    if (e.key in steps) to = (this.#current + steps[e.key] + n) % n;
    else if (e.key === "Home") to = 0;
    else if (e.key === "End") to = n - 1;
    else if (e.key === "Enter" || e.key === " ") this.#select(this.#items[this.#current]);
    else return;
    e.preventDefault();
    if (to >= 0) this.#items[to].group.focus();
  }

  focus() {
    this.#items[this.#current]?.group.focus();
  }

  // point is where a server is drawn, or undefined.
  point(server) {
    return this.points?.get(server);
  }
}
