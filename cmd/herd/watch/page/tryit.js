// Try it: reports from the map, and faults on purpose. Only the page of `herd up` has it, for
// requests from the same machine.

import { post } from "./api.js";
import { element, setText } from "./dom.js";

export class TryIt {
  // say is called with a sentence for the screen reader.
  constructor({ report, form, reply, actions, say }) {
    Object.assign(this, { report, form, reply, actions, say });
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
    const chosen = select.value;
    select.replaceChildren(...hello.servers.map((s) => element("option", { value: s.name }, s.name)));
    if (hello.servers.some((s) => s.name === chosen)) select.value = chosen;
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
    this.reply.className = "wide";
    try {
      const { reply } = await post("try/report", { server: server.value, client: client.value.trim(), lat: Number(lat.value), lon: Number(lon.value) });
      setText(this.reply, reply);
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
    const { path, body } = this.next;
    this.button.setAttribute("aria-busy", "true");
    setText(this.note, "");
    try {
      await post(path, body);
    } catch (err) {
      setText(this.note, err.message);
    }
    this.button.removeAttribute("aria-busy");
  }
}
