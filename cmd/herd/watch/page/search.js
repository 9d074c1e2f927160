// Search: one client's record at every server, side by side, and its places on the map; and
// who is near a location or a client.

import { get } from "./api.js";
import { element, setText } from "./dom.js";
import { OLD_AFTER, ago, degrees, list, plural } from "./numbers.js";
import { bytesOf, parameter, percentDecode, percentEncode, textOf, toBytes, toText } from "./names.js";
import { Silence } from "./silence.js";

const AGAIN = 2000; // ms between requests for the client that is shown
const RADIUS = 10; // km for places
const BOUND = 10; // places

export class Search {
  #shown = null; // the name that is shown, as bytes
  #turn = 0; // counts requests, so that late answers are left out
  #again = 0;
  #places = [];

  // show is called with marks for the map; found with a client's name and position, once.
  constructor({ form, near, result, age, show, found }) {
    Object.assign(this, { form, near, result, age, show, found });
    this.answered = new Silence();
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const name = form.elements.client.value.trim();
      if (name !== "") this.find(toBytes(name));
    });
    near.addEventListener("submit", (e) => {
      e.preventDefault();
      this.findNear(toBytes(near.elements.at.value.trim()), near.elements.km.value);
    });
    setInterval(() => this.#showAge(), 1000);
  }

  // start does what the page's address asks for: ?client= or ?near=&km=.
  start() {
    const client = parameter("client");
    const near = parameter("near");
    if (client) this.find(percentDecode(client));
    else if (near) {
      const km = parameter("km");
      if (km) this.near.elements.km.value = km;
      this.findNear(percentDecode(near), this.near.elements.km.value);
    }
  }

  // find shows a client, and keeps its record fresh.
  find(name) {
    this.form.elements.client.value = toText(name);
    history.replaceState(null, "", `?client=${percentEncode(name)}`);
    const isNew = !this.#shown || percentEncode(this.#shown) !== percentEncode(name);
    this.#shown = name;
    if (isNew) {
      this.#places = [];
      this.placesBox = element("div", { class: "places" });
      this.recordBox = element("div", { class: "records" }, element("p", { class: "muted" }, "Asking every server …"));
      this.result.replaceChildren(this.recordBox, this.placesBox);
      this.show([]);
    }
    this.#ask(++this.#turn, isNew);
  }

  async #ask(turn, first) {
    clearTimeout(this.#again);
    const id = percentEncode(this.#shown);
    try {
      const answer = await get("client", `id=${id}`);
      if (turn !== this.#turn) return;
      this.answered.heard();
      this.failed = "";
      this.#showRecords(answer);
      const record = answer.servers.find((s) => s.known);
      if (first && record) {
        this.found(this.#shown, record.lat, record.lon);
        this.#askPlaces(turn, id);
      }
    } catch (err) {
      if (turn !== this.#turn) return;
      this.failed = err.message;
      if (first) this.#fail(err);
    }
    this.#again = setTimeout(() => this.#askAgain(turn), AGAIN);
  }

  #askAgain(turn) {
    if (turn !== this.#turn) return;
    if (document.hidden) this.#again = setTimeout(() => this.#askAgain(turn), AGAIN);
    else this.#ask(turn, false);
  }

  #fail(err) {
    this.recordBox.replaceChildren(element("p", { class: "error" }, `That failed: ${err.message}`));
  }

  #showAge() {
    const age = this.answered.seconds();
    const old = Boolean(this.#shown && this.recordBox?.querySelector("table")) && age > OLD_AFTER + 1;
    setText(this.age, old ? `as of ${ago(age)}` : "");
    this.result.classList.toggle("old", old);
  }

  #showRecords({ servers, missing }) {
    const known = servers.filter((s) => s.known);
    const parts = [element("h3", {}, toText(this.#shown))];
    const silent = (missing ?? []).length > 0 ? ` ${list(missing)} did not answer.` : "";
    if (known.length === 0) {
      parts.push(element("p", {}, servers.length === 0 ? `No server answered.${silent}` : `No server knows this client.${silent}`));
    } else {
      const same = servers.every((s) => s.known && s.sameAs === servers[0].sameAs);
      const all = missing?.length ? "The servers that answered have the same record." : "Every server has the same record.";
      parts.push(element("p", {}, (same ? all : "The servers do not have the same record.") + silent));
      if (same) {
        const r = known[0];
        parts.push(element("code", { class: "record" }, textOf(r, "record")));
        parts.push(element("p", { class: "muted" }, `At ${degrees(r.lat, r.lon)}, received by ${r.origin}, ${ago(r.age ?? 0)}.`));
      }
      parts.push(this.#table(servers, missing ?? []));
    }
    const scroll = [this.result.scrollTop, this.result.scrollLeft];
    this.recordBox.replaceChildren(...parts);
    this.result.scrollTo(scroll[1], scroll[0]);
  }

  #table(servers, missing) {
    const rows = servers.map((s) => {
      const cells = s.known ? [degrees(s.lat, s.lon), s.origin, clock(s.time), ago(s.age ?? 0)] : [s.error ?? "does not know it", "", "", ""];
      return element("tr", {}, element("th", { scope: "row" }, s.server), ...cells.map((c) => element("td", {}, c)));
    });
    rows.push(...missing.map((m) => element("tr", { class: "down" }, element("th", { scope: "row" }, m), element("td", { colspan: "4", class: "word" }, "? no answer"))));
    const head = ["Server", "Location", "Received by", "Client's time", "Received"].map((h) => element("th", { scope: "col" }, h));
    return element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
  }

  async #askPlaces(turn, id) {
    this.placesBox.replaceChildren(element("p", { class: "muted" }, "Asking for places …"));
    try {
      const { places } = await get("places", `id=${id}&radius=${RADIUS}&bound=${BOUND}`);
      if (turn !== this.#turn) return;
      this.#showPlaces(places);
    } catch (err) {
      if (turn === this.#turn) this.placesBox.replaceChildren(element("p", { class: "error" }, `Places: ${err.message}`));
    }
  }

  #showPlaces({ results = [], status, error_message: problem, html_attributions: attributions = [] }) {
    this.#places = results.map((p) => ({ lat: p.geometry.location.lat, lon: p.geometry.location.lng, text: p.name, kind: "place", types: p.types ?? [] }));
    this.show(this.#places);
    const title = element("h3", {}, `Places within ${RADIUS} km`);
    if (results.length === 0) {
      this.placesBox.replaceChildren(title, element("p", { class: "muted" }, problem ?? (status === "ZERO_RESULTS" ? "None." : `None: ${status}.`)));
      return;
    }
    const items = this.#places.map((p) => {
      const kind = p.types[0]?.replaceAll("_", " ") ?? "";
      return element("li", {}, p.text, element("span", { class: "muted" }, ` ${kind} at ${degrees(p.lat, p.lon)}`));
    });
    const credit = attributions.map((a) => new DOMParser().parseFromString(a, "text/html").body.textContent).join(" ");
    this.placesBox.replaceChildren(title, element("ol", {}, ...items), element("p", { class: "muted" }, credit));
  }

  // findNear shows the clients near a location or a client.
  async findNear(at, km) {
    const turn = ++this.#turn;
    clearTimeout(this.#again);
    this.#shown = null;
    this.near.elements.at.value = toText(at);
    if (at.length === 0) return;
    history.replaceState(null, "", `?near=${percentEncode(at)}&km=${encodeURIComponent(km)}`);
    this.result.replaceChildren(element("p", { class: "muted" }, "Asking …"));
    try {
      const { clients } = await get("near", `at=${percentEncode(at)}&km=${encodeURIComponent(km)}&limit=50`);
      if (turn !== this.#turn) return;
      const marks = clients.map((c) => ({ lat: c.lat, lon: c.lon, text: textOf(c, "id"), kind: "client" }));
      this.show(marks);
      const title = element("p", {}, clients.length === 0 ? `Nobody is within ${km} km.` : `${plural(clients.length, "client")} within ${km} km, the nearest first:`);
      const items = clients.map((c) => {
        const button = element("button", { type: "button" }, `${textOf(c, "id")}, ${c.km.toFixed(1)} km`);
        button.addEventListener("click", () => this.find(bytesOf(c, "id")));
        return element("li", {}, button);
      });
      this.result.replaceChildren(title, element("ul", { class: "chips" }, ...items));
      const place = location(toText(at)) ?? (clients[0] && [clients[0].lat, clients[0].lon]);
      if (place) this.found(null, ...place, km);
    } catch (err) {
      if (turn === this.#turn) this.result.replaceChildren(element("p", { class: "error" }, `That failed: ${err.message}`));
    }
  }
}

// location reads a location such as +34.07-118.45; null if it is none.
function location(text) {
  const match = /^([+-]\d+(?:\.\d*)?)([+-]\d+(?:\.\d*)?)$/.exec(text);
  return match && [Number(match[1]), Number(match[2])];
}

// clock is a client's time, in seconds since 1970, as a date and time.
function clock(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z");
}
