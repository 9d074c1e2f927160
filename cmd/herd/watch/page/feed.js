// The feed of the herd: one connection of Server-Sent Events, opened again with increasing
// delays when it fails or is silent. It runs in the page or in the worker that tabs share.

import { Backoff } from "./backoff.js";
import { Silence } from "./silence.js";

const ADDRESS = "./api/live";
const PATIENCE = 5000; // ms for the question why there is no feed
const TYPES = ["hello", "herd", "event", "hop", "tap"];
const SILENT = 5; // seconds without an event after which the connection is opened again

export class Feed {
  #source = null;
  #retry = 0;
  #backoff = new Backoff();
  #news = new Silence(); // since the last event, or since the connection was opened
  #wanted = false;

  // receive is called with the type and the value of each event. An event of type "refused" is the
  // line of text with which the server refused the feed.
  constructor(receive) {
    this.receive = receive;
    setInterval(() => this.#check(), 1000);
  }

  open() {
    this.#wanted = true;
    if (!this.#source || this.#news.seconds() > SILENT) this.#connect();
  }

  close() {
    this.#wanted = false;
    this.#disconnect();
  }

  #connect() {
    this.#disconnect();
    this.#news.heard();
    const source = new EventSource(ADDRESS);
    this.#source = source;
    for (const type of TYPES) {
      source.addEventListener(type, (e) => {
        if (source !== this.#source) return;
        this.#news.heard();
        if (type === "herd") this.#backoff.succeeded();
        this.receive(type, JSON.parse(e.data));
      });
    }
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      if (source.readyState === EventSource.CLOSED) this.#askWhy();
      this.#later();
    });
  }

  // askWhy requests the feed once more, since an EventSource does not tell what the server said.
  async #askWhy() {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), PATIENCE);
    try {
      const response = await fetch(ADDRESS, { signal: stop.signal, cache: "no-store" });
      if (!response.ok) this.receive("refused", (await response.text()).trim() || `status ${response.status}`);
    } catch {
      // The server cannot be reached, so it says nothing.
    }
    clearTimeout(timer);
    stop.abort();
  }

  #disconnect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  #later() {
    this.#disconnect();
    if (this.#wanted) this.#retry = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  // check finds a connection that says nothing, such as after sleep.
  #check() {
    if (this.#source && this.#news.seconds() > SILENT) this.#later();
  }
}
