// What a screen reader is told by itself: changes of state, and nothing else. Changes within a
// few seconds are one announcement, so that it does not chatter.

import { list } from "./numbers.js";

const BETWEEN = 4000; // ms between announcements
const MOST = 5; // changes in one

export class Announcer {
  #states = new Map();
  #changes = new Map(); // by subject, so that only its last state is said
  #timer = 0;

  constructor(region) {
    this.region = region;
  }

  update(model) {
    const states = new Map([["NATS", model.bus ?? "unknown"]]);
    if (model.never) this.#states.delete("The herd");
    else if (model.old) states.set("The herd", "silent: what the page shows is old");
    else {
      states.set("The herd", "heard");
      for (const s of model.servers) states.set(s.name, s.state);
      for (const e of model.edges) states.set(`the edge ${e.a} to ${e.b}`, e.state);
    }
    for (const [subject, state] of states) {
      const before = this.#states.get(subject);
      this.#states.set(subject, state);
      if (before !== undefined && before !== state) this.say(subject, `${subject} is ${state}`);
    }
  }

  // say announces a sentence soon. A later one about the same subject replaces it.
  say(subject, sentence) {
    this.#changes.set(subject, sentence);
    this.#timer ||= setTimeout(() => this.#speak(), 500);
  }

  #speak() {
    const said = [...this.#changes.values()];
    this.#changes.clear();
    if (said.length === 0) {
      this.#timer = 0;
      return;
    }
    const shown = said.slice(0, MOST);
    if (said.length > MOST) shown.push(`${said.length - MOST} more changes`);
    this.region.textContent = `${list(shown)}.`;
    this.#timer = setTimeout(() => this.#speak(), BETWEEN);
  }
}
