// The feed of events: the newest first, filtered by kind and text, and paused on request.

import { element, setText } from "./dom.js";
import { EventLog } from "./eventlog.js";
import { clock, dateTime, plural } from "./numbers.js";

const KEPT = 500;

export class EventList {
  #log = new EventLog(KEPT);
  #paused = null; // while paused, the events until then
  #waiting = 0; // events that came while paused

  constructor({ form, list, count, pause }) {
    Object.assign(this, { form, list, count, pause });
    form.addEventListener("input", () => this.#show());
    form.addEventListener("submit", (e) => e.preventDefault());
    pause.addEventListener("click", () => {
      this.#paused = this.#paused ? null : [...this.#log.list];
      this.#waiting = 0;
      pause.setAttribute("aria-pressed", String(this.#paused !== null));
      if (!this.#paused) this.#show();
      this.#describe();
    });
    this.#describe();
    this.#show();
  }

  add(event) {
    if (!this.#log.add({ ...event })) return;
    const kinds = this.form.elements.kind;
    if (![...kinds.options].some((o) => o.value === event.kind)) kinds.append(element("option", { value: event.kind }, event.kind));
    if (this.#paused) this.#waiting++;
    else if (!this.#pending) {
      this.#pending = true;
      requestAnimationFrame(() => {
        this.#pending = false;
        if (!this.#paused) this.#show();
      });
    }
    this.#describe();
  }
  #pending = false;

  #describe() {
    const kept = plural(this.#log.list.length, "event");
    setText(this.count, this.#paused ? `paused, ${this.#waiting} new` : kept);
  }

  #show() {
    const text = this.form.elements.text.value.toLowerCase();
    const kind = this.form.elements.kind.value;
    const events = this.#paused ?? this.#log.list;
    const rows = [];
    for (let i = events.length - 1; i >= 0; i--) {
      const e = events[i];
      const words = `${e.server}${e.peer ? ` about ${e.peer}` : ""}: ${e.text ?? ""}`;
      if ((kind && e.kind !== kind) || (text && !`${e.kind} ${words}`.toLowerCase().includes(text))) continue;
      rows.push(this.#row(e, words));
    }
    if (rows.length === 0) {
      const text = events.length === 0 ? "No event yet." : "No event matches.";
      rows.push(element("li", {}, element("span", { class: "muted wide" }, text)));
    }
    this.list.replaceChildren(...rows);
  }

  #row(e, words) {
    const at = clock(e.at / 1000); // another one after midnight
    if (e.row?.firstChild.textContent === at) return e.row;
    const time = element("time", { datetime: new Date(e.at).toISOString(), title: dateTime(e.at / 1000) }, at);
    e.row = element("li", {}, time, element("span", { class: "subject" }, e.kind), element("span", {}, words));
    return e.row;
  }
}
