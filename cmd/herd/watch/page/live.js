// What the page hears of the herd, by the worker that tabs share, or by itself in a browser
// without such workers. A tab that is hidden for a while hears nothing.

import { Feed } from "./feed.js";
import { Silence } from "./silence.js";

const WORKER = "herd 4"; // its number is the version of the messages in shared.js: raise it when they change
const KEEPALIVE = 5000; // ms between keepalives to the worker
const HIDDEN = 10000; // ms after which a hidden tab leaves
const START = 3000; // ms within which a new worker must say something
const MISSED = 2; // keepalives without an answer after which the worker is gone

export class Live {
  silence = new Silence(); // since the last state of the herd
  #port = null;
  #first = 0; // runs out if a new worker says nothing
  #missed = 0; // keepalives since the worker said something
  #feed = null;
  #hide = 0;
  #timer = 0; // of keepalives
  #wants = false; // a stream of clients
  #granted = false;

  // receive is called with the type and the value of each event; permit with whether the tab
  // may have a stream of clients: true, false, or undefined before that is known.
  constructor({ receive, permit }) {
    this.receive = receive;
    this.permit = permit;
    document.addEventListener("visibilitychange", () => this.#visibility());
    addEventListener("focus", () => this.#port?.postMessage({ type: "focus" }));
    addEventListener("online", () => this.#feed?.open());
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", (e) => e.persisted && this.#arrive());
    if (!document.hidden) this.#arrive();
  }

  // start joins the worker of all tabs, or starts it.
  #start() {
    try {
      const worker = new SharedWorker("./shared.js", { type: "module", name: WORKER });
      const { port } = worker;
      worker.onerror = () => port === this.#port && this.#alone();
      port.onmessage = ({ data }) => port === this.#port && this.#take(data);
      this.#port = port;
      this.#missed = 0;
      port.postMessage({ type: "keepalive", wants: this.#wants });
      clearTimeout(this.#first);
      this.#first = setTimeout(() => this.#alone(), START);
    } catch {
      this.#alone();
    }
  }

  // alone gives up the worker.
  #alone() {
    clearTimeout(this.#first);
    clearInterval(this.#timer);
    if (this.#feed) return;
    this.#port?.postMessage({ type: "leave" });
    this.#port = null;
    this.#feed = new Feed((type, value) => this.#take({ type, value, age: 0 }));
    if (!document.hidden) this.#arrive();
  }

  #take({ type, value, age }) {
    clearTimeout(this.#first);
    this.#first = 0;
    this.#missed = 0;
    if (type === "alive") return;
    if (type === "grant") {
      this.#granted = value;
      this.permit(value);
      return;
    }
    if (type === "herd") this.silence.heard(age);
    this.receive(type, value);
  }

  #arrive() {
    clearInterval(this.#timer);
    if (this.#feed) {
      this.#feed.open();
      this.#grantAlone();
      return;
    }
    if (this.#port) this.#sendKeepalive();
    else this.#start();
    if (!this.#feed) this.#timer = setInterval(() => this.#sendKeepalive(), KEEPALIVE);
  }

  // sendKeepalive sends a keepalive. A worker that has answered none of the last ones is replaced: the
  // browser starts another if it has ended. If that says nothing either, this tab goes on alone.
  #sendKeepalive() {
    if (this.#missed < MISSED || document.hidden) {
      this.#missed++;
      this.#port?.postMessage({ type: "keepalive", wants: this.#wants });
      return;
    }
    this.#port?.postMessage({ type: "leave" });
    this.#start();
  }

  #leave() {
    clearInterval(this.#timer);
    clearTimeout(this.#first);
    this.#missed = 0;
    this.#feed?.close();
    this.#port?.postMessage({ type: "leave" });
    this.#port = null; // if the worker ends meanwhile, the next start finds another
    this.#granted = false;
    this.permit(undefined);
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
    else this.#port?.postMessage({ type: "keepalive", wants: true });
  }

  #visibility() {
    clearTimeout(this.#hide);
    if (document.hidden) this.#hide = setTimeout(() => this.#leave(), HIDDEN);
    else this.#arrive();
  }
}
