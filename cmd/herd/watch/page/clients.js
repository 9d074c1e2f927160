// The clients in view: a binary stream of the page's server, into typed arrays. The server
// numbers the clients; the number is the index of all arrays here. Names stay bytes until
// somebody reads them.

import { Backoff } from "./backoff.js";
import { toX, toY } from "./mercator.js";
import { equalBytes } from "./names.js";
import { Silence } from "./silence.js";

const NAME = 1;
const POSITION = 2;
const GONE = 3;
const CLEAR = 4;
const LIVE = 5;
const TICK = 6;
const SIZES = { [POSITION]: 21, [GONE]: 5, [CLEAR]: 1, [LIVE]: 1, [TICK]: 5 };

const SLICE = 8; // ms of parsing before the browser gets a turn
const SILENT = 6; // seconds without a byte after which a stream is opened again
const MOST = 5_000_000; // clients; a server holds no more by default

// Store is what one stream has told.
export class Store {
  count = 0; // clients that are known
  end = 0; // indexes in use are below
  live = false; // the snapshot is complete
  updates = 0; // positions since then

  #names = new Uint8Array(1 << 16);
  #used = 0; // bytes of names
  #garbage = 0; // bytes of names that nobody refers to

  constructor() {
    this.#resize(1024);
  }

  #resize(size) {
    const grow = (old, type) => {
      const array = new type(size);
      if (old) array.set(old);
      return array;
    };
    this.x = grow(this.x, Float64Array); // where, as the map has it
    this.y = grow(this.y, Float64Array);
    this.time = grow(this.time, Float64Array); // the client's time, in seconds
    this.seen = grow(this.seen, Float64Array); // performance.now() of the last position in changes
    this.alive = grow(this.alive, Uint8Array);
    this.nameAt = grow(this.nameAt, Uint32Array);
    this.nameLength = grow(this.nameLength, Uint16Array);
  }

  #reach(index) {
    if (index >= MOST) throw new Error(`index ${index} is too large`);
    if (index >= this.x.length) this.#resize(Math.min(MOST, Math.max(index + 1, this.x.length * 2)));
    if (index >= this.end) this.end = index + 1;
  }

  setName(index, bytes) {
    this.#reach(index);
    this.#garbage += this.nameLength[index];
    if (this.#used + bytes.length > this.#names.length) this.#makeRoom(bytes.length);
    this.#names.set(bytes, this.#used);
    this.nameAt[index] = this.#used;
    this.nameLength[index] = bytes.length;
    this.#used += bytes.length;
  }

  // makeRoom leaves out the names that were replaced, and then doubles the room if need be.
  #makeRoom(length) {
    this.nameLength.fill(0, this.end);
    const live = this.#used - this.#garbage;
    const names = new Uint8Array(Math.max(this.#names.length, 2 * (live + length)));
    let used = 0;
    for (let i = 0; i < this.end; i++) {
      names.set(this.#names.subarray(this.nameAt[i], this.nameAt[i] + this.nameLength[i]), used);
      this.nameAt[i] = used;
      used += this.nameLength[i];
    }
    this.#names = names;
    this.#used = used;
    this.#garbage = 0;
  }

  setPosition(index, lat, lon, time, now) {
    this.#reach(index);
    if (!this.alive[index]) {
      this.alive[index] = 1;
      this.count++;
    }
    this.x[index] = toX(lon);
    this.y[index] = toY(lat);
    this.time[index] = time;
    this.seen[index] = this.live ? now : 0;
    if (this.live) this.updates++;
  }

  remove(index) {
    if (index >= this.end || !this.alive[index]) return;
    this.alive[index] = 0;
    this.count--;
  }

  clear() {
    this.alive.fill(0);
    this.count = this.end = this.#used = this.#garbage = 0;
    this.nameLength.fill(0);
    this.live = false;
  }

  // name is the bytes of a client's name, valid until the next name comes.
  name(index) {
    return this.#names.subarray(this.nameAt[index], this.nameAt[index] + this.nameLength[index]);
  }

  // find is the index of a client; -1 if it is not in view.
  find(name) {
    for (let i = 0; i < this.end; i++) {
      if (this.alive[i] && this.nameLength[i] === name.length && equalBytes(this.name(i), name)) return i;
    }
    return -1;
  }
}

// Parser reads the messages of a stream into a store.
export class Parser {
  #rest = new Uint8Array(0); // the beginning of a message whose end has not come
  age = 0; // seconds since the server's own stream said anything

  // positioned, if any, is called with the index of each client that has a new position.
  constructor(store, positioned) {
    this.store = store;
    this.positioned = positioned;
  }

  // parse reads bytes from an offset until they end or the time is up. It returns how far it came.
  parse(bytes, view, at, until) {
    const { store } = this;
    const now = performance.now();
    for (let n = 0; at < bytes.length; n++) {
      if ((n & 255) === 255 && performance.now() > until) return at;
      const kind = bytes[at];
      let size = SIZES[kind];
      if (kind === NAME) {
        if (at + 7 > bytes.length) break;
        size = 7 + view.getUint16(at + 5, true);
      } else if (size === undefined) throw new Error(`a message of kind ${kind}`);
      if (at + size > bytes.length) break;
      if (kind === POSITION) {
        const index = view.getUint32(at + 1, true);
        store.setPosition(index, view.getFloat32(at + 5, true), view.getFloat32(at + 9, true), view.getFloat64(at + 13, true), now);
        this.positioned?.(index);
      } else if (kind === NAME) store.setName(view.getUint32(at + 1, true), bytes.subarray(at + 7, at + size));
      else if (kind === GONE) store.remove(view.getUint32(at + 1, true));
      else if (kind === CLEAR) store.clear();
      else if (kind === LIVE) store.live = true;
      else this.age = view.getUint32(at + 1, true) / 1000;
      at += size;
    }
    this.#rest = bytes.slice(at);
    return bytes.length;
  }

  // feed parses a chunk in slices, so that the page stays responsive.
  async feed(chunk) {
    let bytes = chunk;
    if (this.#rest.length > 0) {
      bytes = new Uint8Array(this.#rest.length + chunk.length);
      bytes.set(this.#rest);
      bytes.set(chunk, this.#rest.length);
      this.#rest = new Uint8Array(0);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; ) {
      at = this.parse(bytes, view, at, performance.now() + SLICE);
      if (at < bytes.length) await turn();
    }
  }
}

// turn lets the browser do other work first.
const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()?.();
function turn() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(0);
  });
}

// Clients keeps the store of the area in view, and follows the area as it changes. The old
// store is shown until the new one's snapshot is complete.
export class Clients {
  store = new Store();
  silence = new Silence();
  problem = ""; // why there is no stream; "" while there is one

  // waiting is whether there is no stream because other tabs have theirs.
  get waiting() {
    return this.#permitted === false;
  }

  #backoff = new Backoff();
  #stop = null; // aborts the stream that is open
  #retry = 0;
  #permitted = undefined; // undefined until that is known
  #query = "";
  #opened = new Silence();

  // changed is called after each chunk; positioned with the store and the index of each client
  // that has a new position.
  constructor({ changed, positioned }) {
    this.changed = changed;
    this.positioned = positioned;
    setInterval(() => this.#check(), 1000);
  }

  // show follows an area: {south, west, north, east} in degrees, or null for the world.
  show(box) {
    const area = box ? `south=${box.south}&west=${box.west}&north=${box.north}&east=${box.east}&` : "";
    this.#query = `${area}interval=250`;
    this.#backoff.succeeded();
    if (this.#permitted) this.#open();
  }

  // retry opens a stream now if the next attempt is some seconds away, since what failed may work again.
  retry() {
    this.#backoff.succeeded();
    if (this.#permitted && !this.#stop) this.#open();
  }

  // permit says whether there may be a stream: of many tabs a few have one.
  // undefined is for a hidden tab, which has none, and is not told.
  permit(yes) {
    this.#permitted = yes;
    if (!yes) this.#close();
    else if (!this.#stop) this.#open();
  }

  async #open() {
    this.#close();
    if (!this.#query) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#opened.heard();
    const store = new Store();
    const parser = new Parser(store, (index) => store === this.store && this.positioned(store, index));
    try {
      const response = await fetch(`./api/clients?${this.#query}`, { signal: stop.signal, cache: "no-store" });
      if (!response.ok) throw new Error((await response.text()).trim() || `status ${response.status}`);
      const reader = response.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error("the stream has ended");
        this.#opened.heard();
        await parser.feed(value);
        if (stop !== this.#stop) return;
        if (store !== this.store && (store.live || this.store.count === 0 || this.problem)) this.store = store;
        if (store === this.store) {
          this.silence.heard(parser.age);
          this.problem = "";
        }
        if (store.live) this.#backoff.succeeded();
        this.changed();
      }
    } catch (err) {
      if (stop !== this.#stop) return;
      this.problem = err instanceof TypeError ? "the page's server cannot be reached" : err.message;
      this.changed();
      this.#later();
    }
  }

  #close() {
    clearTimeout(this.#retry);
    const stop = this.#stop;
    this.#stop = null;
    stop?.abort();
  }

  #later() {
    this.#close();
    if (this.#permitted) this.#retry = setTimeout(() => this.#open(), this.#backoff.next());
  }

  // check finds a stream that says nothing, such as after sleep.
  #check() {
    if (this.#stop && this.#opened.seconds() > SILENT) this.#later();
  }
}
