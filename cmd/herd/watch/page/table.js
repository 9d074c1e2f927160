// The tables: servers with their figures, and which pairs of servers have the same records.

import { SIGNS } from "./model.js";
import { element, setAttribute, setFigure, setText, stateClass } from "./dom.js";
import { OLD_AFTER, ago, count, milliseconds, rate, span } from "./numbers.js";

export class ServerTable {
  constructor(body) {
    this.body = body;
  }

  build(hello) {
    this.rows = hello.servers.map((s) => {
      const cells = {};
      const row = element("tr", {}, element("th", { scope: "row" }, s.name));
      for (const name of ["state", "clients", "in", "out", "lag", "heartbeat", "sessions", "digest", "heard"]) {
        cells[name] = element("td", { class: name === "state" ? "" : name === "digest" ? "mono" : "n" });
        row.append(cells[name]);
      }
      cells.word = element("span", { class: "word" });
      cells.why = element("span", { class: "why" });
      cells.state.append(cells.word, cells.why);
      return { name: s.name, row, cells };
    });
    this.body.replaceChildren(...this.rows.map((r) => r.row));
  }

  update(model) {
    for (const { name, row, cells } of this.rows ?? []) {
      const s = model.servers.find((s) => s.name === name);
      if (!s) continue;
      setAttribute(row, "class", stateClass(s.state));
      setText(cells.word, `${SIGNS[s.state] ?? "?"} ${s.state}`);
      setText(cells.why, s.why ?? "");
      const figures = {
        clients: [s.clients, count(s.clients)],
        in: [s.in, rate(s.in)],
        out: [s.out, rate(s.out)],
        lag: [s.lagMs, milliseconds(s.lagMs)],
        sessions: [s.sessions, count(s.sessions)],
        digest: [s.digest, s.digest ? s.digest.slice(0, 8) : "–"],
      };
      for (const [cell, [value, text]] of Object.entries(figures)) setFigure(cells[cell], text, value === undefined ? undefined : s.age);
      setAttribute(cells.digest, "title", s.digest ?? "");
      setFigure(cells.heartbeat, s.heartbeat === undefined ? "–" : span(s.heartbeat + model.silence), undefined);
      setText(cells.heard, s.heard === undefined ? "–" : `${span(s.age)} ago`);
    }
  }
}

export class PairMatrix {
  constructor(head, body, differences) {
    Object.assign(this, { head, body, differences });
  }

  build(hello) {
    const names = hello.servers.map((s) => s.name);
    this.head.replaceChildren(element("tr", {}, element("td"), ...names.map((n) => element("th", { scope: "col" }, n))));
    this.cells = new Map();
    this.body.replaceChildren(
      ...names.map((a, row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, a),
          ...names.map((b, column) => {
            if (row === column) return element("td", { class: "same" }, element("span", { class: "unseen" }, "itself"));
            const cell = element("td");
            this.cells.set(`${a} ${b}`, cell);
            return cell;
          }),
        ),
      ),
    );
  }

  update(model) {
    if (!this.cells) return;
    for (const p of model.pairs) {
      const [state, text] = pairState(p, model);
      for (const key of [`${p.a} ${p.b}`, `${p.b} ${p.a}`]) {
        const cell = this.cells.get(key);
        if (!cell) continue;
        setAttribute(cell, "class", stateClass(state));
        setText(cell, text);
      }
    }
    const lines = model.never ? ["Nothing was heard yet."] : model.old ? [`As of ${ago(model.age)}: ${model.differences.length === 0 ? "no difference" : model.differences.join("; ")}.`] : model.differences.map((line) => `${line}.`);
    const text = lines.join("\n");
    if (this.shown === text) return;
    this.shown = text;
    this.differences.replaceChildren(...(lines.length > 0 ? lines : ["No difference."]).map((line) => element("li", {}, line)));
  }
}

// pairState is the class of a pair, and its words.
function pairState(p, model) {
  if (model.never) return ["unknown", "? not yet"];
  if (model.old) return ["unknown", `? ${ago(model.age)}`];
  if (p.equal) return ["in step", "✓ in step"];
  if (p.ago === undefined) return ["unknown", "? not yet"];
  if (p.ago <= OLD_AFTER) return ["in step", `✓ ${span(p.ago)} ago`];
  return ["behind", `» ${ago(p.ago)}`];
}
