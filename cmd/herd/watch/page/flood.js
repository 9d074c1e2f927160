// The flood of single reports, while traffic is low: a dot runs along each edge that a report
// crosses. The real flood takes milliseconds, so it is shown in slow motion: a dot leaves a
// server when the first one has arrived there.

import { clippedName, setParts, setText, svg } from "./dom.js";
import { textOf } from "./names.js";
import { milliseconds, plural } from "./numbers.js";

const HOP = 550; // ms that a dot takes
const AFTERGLOW = 900; // ms that a crossed edge is marked
const TOGETHER = 1500; // ms between hops of one report at most
const MOST = 150; // marks at a time; further hops are only counted

export class Flood {
  #reports = new Map(); // the reports of the last seconds, by client
  #marks = 0;

  constructor(graph, line) {
    this.graph = graph;
    this.line = line;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
  }

  // setTap says whether single reports are told at all, and whether anything is heard from the herd.
  setTap(on, heard) {
    let state = "Nothing is heard, so no report is shown.";
    this.on = on;
    if (heard && on) state = "Traffic is low: each report is shown as it runs, in slow motion.";
    else if (heard) state = "Traffic is high: the edges show totals, not single reports.";
    if (state === this.state) return;
    this.state = state;
    setText(this.line, state);
  }

  // hop shows a report on an edge. Hops that were on their way when the tap was turned off are left out.
  hop(news) {
    if (this.on === false) return;
    const { at, from, to } = news;
    const client = textOf(news, "client");
    const now = performance.now();
    let report = this.#reports.get(client);
    if (!report || at - report.last > TOGETHER) {
      report = { first: at, last: at, origin: from, took: 0, edges: new Set(), reached: new Set([from]), arrival: new Map([[from, now]]) };
      this.#reports.delete(client);
      this.#reports.set(client, report);
      if (this.#reports.size > 50) this.#reports.delete(this.#reports.keys().next().value);
    }
    report.last = Math.max(report.last, at);
    report.edges.add([from, to].sort().join(" "));
    const isNews = !report.reached.has(to); // other messages bring a server what it has
    if (isNews) report.took = at - report.first;
    report.reached.add(to);
    const start = Math.max(now, report.arrival.get(from) ?? now);
    const arrival = start + HOP;
    report.arrival.set(to, Math.min(report.arrival.get(to) ?? Infinity, arrival));
    this.#draw(from, to, start - now);
    if (isNews) this.#describe(client, report);
  }

  #describe(client, report) {
    const servers = this.graph.hello?.servers.length ?? 0;
    const others = [...report.reached].filter((s) => s !== report.origin);
    const shown = others.length > 8 ? `${others.slice(0, 8).join(", ")} and ${others.length - 8} more` : others.join(", ");
    const { took } = report;
    const all = report.reached.size === servers ? `all ${servers} servers` : `${report.reached.size} of ${servers} servers`;
    setParts(this.line, clippedName(client), `: ${all}${took > 0 ? ` in ${milliseconds(took)}` : ""}, over ${plural(report.edges.size, "edge")}: ${report.origin} → ${shown}.`);
  }

  #draw(from, to, delay) {
    const a = this.graph.point(from);
    const b = this.graph.point(to);
    if (!a || !b || this.#marks >= MOST || document.hidden) return;
    this.#marks++;
    const end = { transform: `translate(${b.x}px, ${b.y}px)` };
    const trace = svg("path", { class: "crossed", d: `M${a.x} ${a.y}L${b.x} ${b.y}` });
    const done = () => {
      trace.remove();
      this.#marks--;
    };
    const glow = () => {
      this.graph.traceLayer.append(trace);
      const how = this.still.matches ? { duration: 2 * AFTERGLOW, easing: "steps(1)" } : { duration: AFTERGLOW };
      trace.animate([{ opacity: 0.6 }, { opacity: 0 }], how).onfinish = done;
    };
    if (this.still.matches) {
      setTimeout(glow, delay);
      return;
    }
    const dot = svg("circle", { class: "hop", r: 6 });
    this.graph.floodLayer.append(dot);
    // While it waits, the dot is behind the server that it leaves.
    const run = dot.animate([{ transform: `translate(${a.x}px, ${a.y}px)` }, end], { duration: HOP, delay, easing: "ease-in-out", fill: "both" });
    run.onfinish = () => {
      dot.remove();
      glow();
    };
  }
}
