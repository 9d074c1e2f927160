// What the page hears of the herd, by the worker that tabs share, or by itself in a browser
// without such workers. A tab that is hidden for a while hears nothing.

import { Feed } from "./feed.js";
import { Silence } from "./silence.js";

const HERE = 5000; // ms between signs of life to the worker
const HIDDEN = 10000; // ms after which a hidden tab leaves
const START = 3000; // ms within which the worker must say something

export class Live {
  silence = new Silence(); // since the last state of the herd
  #port = null;
  #feed = null;
  #hide = 0;
  #here = 0;
  #wants = false; // a stream of clients
  #granted = false;

  // receive is called with the type and the value of each event; permit with whether the tab
  // may have a stream of clients, when that changes.
  constructor({ receive, permit }) {
    this.receive = receive;
    this.permit = permit;
    this.#start();
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("online", () => this.#feed?.open());
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", (e) => e.persisted && this.#arrive());
    if (!document.hidden) this.#arrive();
  }

  #start() {
    try {
      const worker = new SharedWorker("./shared.js", { type: "module", name: "herd 1" });
      worker.onerror = () => this.#alone();
      worker.port.onmessage = ({ data }) => this.#take(data);
      this.#port = worker.port;
      this.first = setTimeout(() => this.#alone(), START);
    } catch {
      this.#alone();
    }
  }

  // alone gives up the worker.
  #alone() {
    clearTimeout(this.first);
    if (this.#feed) return;
    this.#port?.postMessage({ type: "bye" });
    this.#port = null;
    this.#feed = new Feed((type, value) => this.#take({ type, value, age: 0 }));
    if (!document.hidden) this.#arrive();
  }

  #take({ type, value, age }) {
    clearTimeout(this.first);
    if (type === "here") return;
    if (type === "map") {
      this.#granted = value;
      this.permit(value);
      return;
    }
    if (type === "herd") this.silence.heard(age);
    this.receive(type, value);
  }

  #arrive() {
    clearInterval(this.#here);
    if (this.#feed) {
      this.#feed.open();
      this.#grantAlone();
      return;
    }
    const here = () => this.#port?.postMessage({ type: "map", wants: this.#wants });
    here();
    this.#here = setInterval(here, HERE);
  }

  #leave() {
    clearInterval(this.#here);
    this.#feed?.close();
    this.#port?.postMessage({ type: "bye" });
    this.#granted = false;
    this.permit(false);
  }

  #grantAlone() {
    if (this.#granted === this.#wants) return;
    this.#granted = this.#wants;
    this.permit(this.#granted);
  }

  // wantMap asks for a stream of clients.
  wantMap() {
    this.#wants = true;
    if (document.hidden) return;
    if (this.#feed) this.#grantAlone();
    else this.#port?.postMessage({ type: "map", wants: true });
  }

  #visibility() {
    clearTimeout(this.#hide);
    if (document.hidden) this.#hide = setTimeout(() => this.#leave(), HIDDEN);
    else this.#arrive();
  }
}
