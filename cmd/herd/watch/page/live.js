// The feed of the herd: one connection of Server-Sent Events, opened again with increasing
// delays when it fails or is silent. A hidden page closes it after a while: a browser opens
// only six connections to one address, which ten tabs would use up.

import { Backoff } from "./backoff.js";
import { Silence } from "./silence.js";

const TYPES = ["hello", "herd", "event", "hop", "tap"];
const SILENT = 5; // seconds without an event after which the connection is opened again
const HIDDEN = 10000; // ms after which a hidden page closes it

export class Live {
  #source = null;
  #retry = 0;
  #hide = 0;
  #backoff = new Backoff();
  #opened = new Silence();

  // receive is called with the type and the value of each event.
  constructor(receive) {
    this.receive = receive;
    this.silence = new Silence();
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("online", () => this.#open());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (e) => e.persisted && this.#open());
    setInterval(() => this.#check(), 1000);
    this.#open();
  }

  #open() {
    this.#close();
    this.#opened.heard();
    const source = new EventSource("./api/live");
    this.#source = source;
    for (const type of TYPES) {
      source.addEventListener(type, (e) => {
        if (source !== this.#source) return;
        if (type === "herd") {
          this.silence.heard();
          this.#backoff.succeeded();
        }
        this.#opened.heard();
        this.receive(type, JSON.parse(e.data));
      });
    }
    source.addEventListener("error", () => source === this.#source && this.#later());
  }

  #close() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    this.#source?.close();
    this.#source = null;
  }

  #later() {
    this.#close();
    if (document.hidden) return;
    this.#retry = setTimeout(() => this.#open(), this.#backoff.next());
  }

  // check finds a connection that says nothing, such as after sleep.
  #check() {
    if (this.#source && this.#opened.seconds() > SILENT) this.#later();
  }

  #visibility() {
    clearTimeout(this.#hide);
    if (document.hidden) {
      this.#hide = setTimeout(() => this.#close(), HIDDEN);
    } else if (!this.#source || this.#opened.seconds() > SILENT) {
      this.#open();
    }
  }
}
