// Search: one client's record at every server, side by side, and its places on the map; and
// who is near a location or a client.

import { get } from "./api.js";
import { clip, clippedName, element, line, name as nameElement, setText } from "./dom.js";
import { OLD_AFTER, ago, count, dateTime, degrees, distance, list, plural } from "./numbers.js";
import { bytesOf, isClient, parameter, percentDecode, percentEncode, textOf, toBytes, toText, visible } from "./names.js";
import { Silence } from "./silence.js";

const AGAIN = 2000; // ms between requests for what is shown
const RADIUS = 10; // km for places
const BOUND = 10; // places
const NEAR = 50; // clients in the list of those near
const MOVED = 1; // km that a client moves until its places are asked for again
const FARTHEST = 20040; // km: more than half way round the Earth, the most that a server takes
const UNKNOWN = "No server knows this client.";

export class Search {
  #shown = null; // the name that is shown, as bytes
  #turn = 0; // counts searches, so that late answers are left out
  #again = 0;
  #places = [];
  #placesOf = null; // where the client was when its places were asked for: [lat, lon]
  #asking = null; // the search whose places are asked for

  // show is called with marks for the map; found with a client's name and position, once after
  // each submission; say with a sentence for the screen reader.
  constructor({ form, near, result, age, show, found, say }) {
    Object.assign(this, { form, near, result, age, show, found, say });
    this.problem = element("p", { class: "error", hidden: "" });
    this.answered = null; // since the last answer; null before the first
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const name = form.elements.client.value.trim();
      if (name !== "") this.find(toBytes(name));
    });
    near.addEventListener("submit", (e) => {
      e.preventDefault();
      this.findNear(toBytes(near.elements.at.value.trim()), near.elements.km.value);
    });
    setInterval(() => this.#showAge(), 500);
  }

  // start does what the page's address asks for: ?client= or ?near=&km=.
  start() {
    const client = parameter("client");
    const near = parameter("near");
    if (client) this.find(percentDecode(client));
    else if (near) {
      const km = parameter("km");
      this.findNear(percentDecode(near), km === null ? "" : toText(percentDecode(km)));
    }
  }

  // find shows a client, and keeps its record fresh.
  find(name) {
    this.form.elements.client.value = toText(name);
    history.replaceState(null, "", `?client=${percentEncode(name)}`);
    if (!isClient(name)) {
      this.#shown = null;
      this.#begin("", element("div", { class: "records" }));
      this.#refuse(`“${clip(toText(name))}” is not a client's ID: an ID has no white space`);
      return;
    }
    const isNew = !this.#shown || percentEncode(this.#shown) !== percentEncode(name);
    this.#shown = name;
    if (isNew) {
      this.#places = [];
      this.#placesOf = null;
      this.placesBox = element("div", { class: "places" });
      this.recordBox = element("div", { class: "records" });
      this.#begin("Asking every server …", this.recordBox, this.placesBox);
    }
    const id = percentEncode(name);
    let first = true; // until a record was found
    this.#repeat(++this.#turn, async (current) => {
      const answer = await get("client", `id=${id}`);
      if (!current()) return "";
      const words = this.#showRecords(answer);
      const record = answer.servers.filter((s) => s.known).reduce((a, b) => (a && a.time >= b.time ? a : b), null);
      if (first && record) {
        first = false;
        this.found(name, record.lat, record.lon);
        this.#placesOf = null;
      }
      if (record) this.#followPlaces(current, id, [record.lat, record.lon]);
      return `${clip(toText(name))}: ${words}`;
    });
  }

  // begin makes room for the result of another search.
  #begin(words, ...boxes) {
    this.answered = null;
    this.problem.hidden = true;
    boxes[0].replaceChildren(element("p", { class: "muted" }, words));
    this.result.replaceChildren(this.problem, ...boxes);
    this.show([]);
  }

  // repeat asks now, and every AGAIN ms while the page can be seen, until something else is asked.
  // ask shows the answer and returns it in words; the first one is announced. Its argument tells
  // whether the answer is still wanted.
  async #repeat(turn, ask) {
    clearTimeout(this.#again);
    const current = () => turn === this.#turn;
    let told = ""; // what was announced last: an answer, that the client is unknown, or an error
    for (;;) {
      try {
        const words = await ask(current);
        if (!current()) return;
        this.answered ??= new Silence();
        this.answered.heard();
        this.problem.hidden = true;
        const kind = words.includes(UNKNOWN) ? UNKNOWN : "answer";
        if (told !== kind) this.say(words.replace(/\.$/, ""));
        told = kind;
      } catch (err) {
        if (!current()) return;
        this.#fail(`That failed: ${err.message}`);
        if (told !== err.message) this.say(`The search failed: ${err.message}`.replace(/\.$/, ""));
        told = err.message;
        if (err.isFinal) return;
      }
      this.#showAge();
      do {
        await new Promise((resolve) => {
          this.#again = setTimeout(resolve, AGAIN);
        });
        if (!current()) return;
      } while (document.hidden);
    }
  }

  #fail(reason) {
    setText(this.problem, visible(reason));
    this.problem.hidden = false;
    if (!this.answered) this.result.querySelector(".muted")?.remove(); // it asks no longer
  }

  // refuse says why a search is not made, and ends the one before.
  #refuse(reason) {
    this.#turn++;
    clearTimeout(this.#again);
    this.#showAge();
    this.#fail(`${reason}.`);
    this.say(reason);
  }

  #showAge() {
    const age = this.answered?.seconds() ?? 0;
    const old = age > OLD_AFTER;
    setText(this.age, old ? `as of ${ago(age)}` : "");
    this.result.classList.toggle("old", old);
    for (const e of this.result.querySelectorAll("[data-age]")) setText(e, ago(Number(e.dataset.age) + age)); // of records
  }

  // showRecords returns in words whether the servers have the same.
  #showRecords({ servers, missing }) {
    const answered = servers.filter((s) => s.error === undefined);
    const failed = servers.filter((s) => s.error !== undefined).map((s) => s.server);
    const silent = [...(missing ?? []), ...failed];
    const words = comparison(answered, silent);
    const parts = [element("h3", {}, nameElement(toText(this.#shown))), element("p", {}, words)];
    const known = answered.filter((s) => s.known);
    if (known.length > 0) {
      if (isSame(answered)) {
        const r = known[0];
        parts.push(element("code", { class: "record", dir: "ltr" }, ...line(textOf(r, "record"), toText(this.#shown))));
        parts.push(element("p", { class: "muted" }, `At ${degrees(r.lat, r.lon)}, received by ${r.origin}, `, recordAge(r), "."));
      }
      parts.push(this.#table(servers, missing ?? []));
    }
    const boxes = () => [this.result, ...this.recordBox.querySelectorAll("h3, .record, .scroll")];
    const scrolled = boxes().map((b) => [b.scrollLeft, b.scrollTop]);
    this.recordBox.replaceChildren(...parts);
    for (const [i, b] of boxes().entries()) b.scrollTo(...(scrolled[i] ?? [0, 0]));
    return words;
  }

  #table(servers, missing) {
    const rows = servers.map((s) => {
      const cells = s.known ? [degrees(s.lat, s.lon), s.origin, dateTime(s.time), recordAge(s)] : [s.error ?? "does not know it", "", "", ""];
      return element("tr", {}, element("th", { scope: "row" }, s.server), ...cells.map((c) => element("td", {}, c)));
    });
    rows.push(...missing.map((m) => element("tr", { class: "down" }, element("th", { scope: "row" }, m), element("td", { colspan: "4", class: "word" }, "? no answer"))));
    const head = ["Server", "Location", "Received by", "Client's time", "Received"].map((h) => element("th", { scope: "col" }, h));
    return element("div", { class: "scroll" }, element("table", {}, element("caption", { class: "unseen" }, "The record at each server"), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)));
  }

  // followPlaces asks for the places near a client when it is found, and again when it has moved.
  async #followPlaces(current, id, position) {
    if (this.#asking === current || (this.#placesOf && distance(this.#placesOf, position) < MOVED)) return;
    if (!this.#placesOf) this.placesBox.replaceChildren(element("p", { class: "muted" }, "Asking for places …"));
    this.#placesOf = position;
    this.#asking = current;
    await this.#askPlaces(current, id);
    if (this.#asking === current) this.#asking = null;
  }

  async #askPlaces(current, id) {
    try {
      const { places } = await get("places", `id=${id}&radius=${RADIUS}&bound=${BOUND}`);
      if (!current()) return;
      this.#showPlaces(places);
    } catch (err) {
      if (current()) this.placesBox.replaceChildren(element("p", { class: "error" }, `Places: ${err.message}`));
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
      return element("li", {}, nameElement(p.text), element("span", { class: "muted" }, ` ${kind} at ${degrees(p.lat, p.lon)}`));
    });
    const credit = attributions.map((a) => new DOMParser().parseFromString(a, "text/html").body.textContent).join(" ");
    this.placesBox.replaceChildren(title, element("ol", {}, ...items), element("p", { class: "muted" }, credit));
  }

  // findNear shows the clients near a location or a client, and keeps them fresh.
  // within is a number of km as text; the usual one for "".
  findNear(at, within) {
    this.near.elements.at.value = toText(at);
    if (at.length === 0) return;
    const km = Number(within.trim() || RADIUS);
    const isRadius = km >= 0 && km <= FARTHEST;
    this.near.elements.km.value = isRadius ? km : "";
    history.replaceState(null, "", `?near=${percentEncode(at)}&km=${encodeURIComponent(isRadius ? km : within)}`);
    this.#shown = null;
    const box = element("div", { class: "records" });
    this.#begin("Asking …", box);
    if (!isClient(at)) {
      this.#refuse(`“${clip(toText(at))}” is neither a client's ID nor a location such as +34.07-118.45: it has white space`);
      return;
    }
    if (!isRadius) {
      this.#refuse(`“${clip(within)}” is not a number of kilometres from 0 to ${count(FARTHEST)}`);
      return;
    }
    const query = `at=${percentEncode(at)}&km=${plain(km)}&limit=${NEAR}`;
    const where = `within ${km} km`;
    let first = true; // until there is a place to go to
    this.#repeat(++this.#turn, async (current) => {
      const { clients, leftOut = 0, unknown } = await get("near", query);
      if (!current()) return "";
      if (unknown) {
        const words = /^[-+.,\d]+$/.test(toText(at)) ? `${UNKNOWN} A location looks like +34.07-118.45.` : UNKNOWN;
        this.#showNear(box, words, []);
        return words;
      }
      const some = clients.length >= NEAR || leftOut > 0; // there may be others
      const found = some ? `The nearest ${plural(clients.length, "client")} ${where}:` : `${plural(clients.length, "client")} ${where}, the nearest first:`;
      const words = clients.length > 0 || some ? found : `Nobody is ${where}.`;
      this.#showNear(box, words, clients);
      const place = location(toText(at)) ?? (clients[0] && [clients[0].lat, clients[0].lon]);
      if (first && place) {
        first = false;
        this.found(null, ...place, km);
      }
      return words.replace(/(, the nearest first)?:$/, "");
    });
  }

  #showNear(box, words, clients) {
    this.show(clients.map((c) => ({ lat: c.lat, lon: c.lon, text: textOf(c, "id"), kind: "client" })));
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const items = clients.map((c) => {
      const button = element("button", { type: "button", "data-id": percentEncode(bytesOf(c, "id")) }, clippedName(textOf(c, "id")), `, ${c.km.toFixed(1)} km`);
      button.addEventListener("click", () => this.find(bytesOf(c, "id")));
      return element("li", {}, button);
    });
    box.replaceChildren(element("p", {}, words), element("ul", { class: "chips" }, ...items));
    if (focused) [...box.querySelectorAll("button")].find((b) => b.dataset.id === focused)?.focus();
  }
}

// recordAge is how long ago a record was received. It grows until the next answer: see showAge.
const recordAge = ({ age = 0 }) => element("span", { "data-age": age }, ago(age));

// isSame reports whether all servers have the same record.
const isSame = (servers) => servers.every((s) => s.known && s.sameAs === servers[0].sameAs);

// comparison says whether the servers that answered have the same. silent are the names of the others.
function comparison(answered, silent) {
  const others = silent.length > 0 ? ` ${list(silent)} did not answer.` : "";
  if (answered.length === 0) return `No server answered.${others}`;
  if (answered.every((s) => !s.known)) return UNKNOWN + others;
  if (!isSame(answered)) return `The servers do not have the same record.${others}`;
  return (others ? "The servers that answered have the same record." : "Every server has the same record.") + others;
}

// plain writes a number without an exponent.
const plain = (km) => km.toFixed(6).replace(/\.?0+$/, "");

// location reads a location such as +34.07-118.45; null if it is none.
function location(text) {
  const match = /^([+-]\d+(?:\.\d*)?)([+-]\d+(?:\.\d*)?)$/.exec(text);
  return match && [Number(match[1]), Number(match[2])];
}
