// Try it: reports from the map, and faults on purpose. Only the page of `herd up` has it, for
// requests from the same machine.

import { post } from "./api.js";
import { element, line, setText } from "./dom.js";
import { isClient, toBytes } from "./names.js";

export class TryIt {
  constructor({ report, form, reply, actions }) {
    Object.assign(this, { report, form, reply, actions });
    this.button = element("button", { type: "button" });
    this.note = element("span", { class: "error", role: "status" });
    this.button.addEventListener("click", () => this.#act());
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.send();
    });
  }

  build(hello) {
    this.allowed = hello.controls === true;
    this.report.hidden = !this.allowed || hello.report === false; // such as with TLS
    const select = this.form.elements.server;
    const names = hello.servers.map((s) => s.name);
    if (names.join("\n") === [...select.options].map((o) => o.value).join("\n")) return;
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    if (names.includes(chosen)) select.value = chosen;
  }

  // placing says whether a click on the map sends a report.
  get placing() {
    return this.allowed && !this.report.hidden && this.report.open;
  }

  // place sends a report from a position.
  place(lat, lon) {
    this.form.elements.lat.value = lat.toFixed(6);
    this.form.elements.lon.value = lon.toFixed(6);
    return this.send();
  }

  // send sends the report in the form.
  async send() {
    const { client, server, lat, lon } = this.form.elements;
    const name = client.value.trim();
    this.reply.className = "wide";
    if (!isClient(toBytes(name))) {
      this.reply.classList.add("error");
      setText(this.reply, "Not sent: a client's ID has no white space, and is not empty.");
      return;
    }
    try {
      const { reply } = await post("try/report", { server: server.value, client: name, lat: Number(lat.value), lon: Number(lon.value) });
      this.reply.replaceChildren(...line(reply, name));
    } catch (err) {
      this.reply.classList.add("error");
      setText(this.reply, `Not sent: ${err.message}`);
    }
  }

  // show offers what can be done with a server or an edge. The button stays the same element,
  // so that it keeps the focus.
  show(kind, item) {
    if (!this.allowed) {
      this.actions.replaceChildren();
      return;
    }
    const selection = `${kind} ${item.key ?? item.name}`;
    if (selection !== this.selection) setText(this.note, ""); // it was about another
    this.selection = selection;
    if (kind === "edge") {
      const isCut = item.state === "cut" || item.why?.startsWith("was cut");
      this.next = { path: isCut ? "try/heal" : "try/cut", body: { a: item.a, b: item.b } };
      setText(this.button, isCut ? "Heal this edge" : "Cut this edge");
    } else {
      this.next = { path: item.stopped ? "try/start" : "try/stop", body: { server: item.name } };
      setText(this.button, item.stopped ? "Start this server" : "Stop this server");
    }
    if (!this.button.isConnected) this.actions.replaceChildren(this.button, this.note);
  }

  async #act() {
    if (this.busy) return;
    const { path, body } = this.next;
    const { selection } = this;
    this.busy = true;
    this.button.setAttribute("aria-busy", "true");
    this.button.setAttribute("aria-disabled", "true"); // disabled would lose the focus
    setText(this.note, "");
    try {
      await post(path, body);
    } catch (err) {
      if (selection === this.selection) setText(this.note, err.message);
    }
    this.busy = false;
    this.button.removeAttribute("aria-busy");
    this.button.removeAttribute("aria-disabled");
  }
}
