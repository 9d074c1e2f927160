// The map: three canvases above one another. The land is drawn when the view changes, the
// clients when they have changed, and the marks (selection, trail, places) when one of these has.
// Nothing is drawn while nothing changes.

import { clip } from "./dom.js";
import { toLat, toLon, toX, toY } from "./mercator.js";
import { degrees } from "./numbers.js";
import { Points } from "./points.js";

const CLOSEST = 2 ** 18; // how many times the world may be wider than at first
const CLICK = 14; // pixels between a click and the client that it means
const TRAIL = 500; // points of the trail
const STEP = 80; // pixels that an arrow key moves the map
const SETTLED = 350; // ms after the last movement until the area of the stream follows

export class WorldMap {
  #view = { left: 0, top: 0, size: 1000, ratio: 1 }; // left and top in units of the world
  #dirty = { land: true, points: true, marks: true };
  #frame = 0;
  #settle = 0;
  #fade = 0;
  #box = null; // what the stream covers: {left, top, right, bottom} in units of the world; null for all

  store = null;
  trail = []; // [x, y] of the selected client
  marks = []; // {x, y, text, kind}
  selected = -1; // index of the selected client

  // area is called with the area to follow, when it changes; pick with a client's index and
  // the position of a click: the index is -1 where no client is near.
  constructor({ box, land, landCanvas, pointsCanvas, marksCanvas, area, pick, drawn, name }) {
    Object.assign(this, { box, land, area, pick, drawn, name });
    this.canvases = [landCanvas, pointsCanvas, marksCanvas];
    this.landContext = landCanvas.getContext("2d", { willReadFrequently: true });
    this.marksContext = marksCanvas.getContext("2d", { willReadFrequently: true });
    this.points = new Points(pointsCanvas);
    this.#readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColours());
    new ResizeObserver(() => this.#resize()).observe(box);
    this.#listen();
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    const [r, g, b] = channels(value("--point"));
    const [R, G, B] = channels(value("--text"));
    const pack = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
    const ramp = [0];
    for (let step = 0; step <= 8; step++) { // 1, 2–3, 4–7, … clients in a dot
      const t = Math.min(1, step / 7);
      const mix = (from, to) => Math.round(from + (to - from) * t * 0.75);
      ramp.push(pack(mix(r, R), mix(g, G), mix(b, B), Math.round(150 + 105 * Math.min(1, t * 1.6))));
    }
    this.colours = {
      sea: value("--sea"), land: value("--land"), landLine: value("--land-line"), text: value("--text"), muted: value("--muted"),
      surface: value("--surface"), point: value("--point"), pointNew: value("--point-new"), accent: value("--accent"),
      ramp, fresh: pack(...channels(value("--point-new")), 255),
    };
    this.invalidate("land", "points", "marks");
  }

  #resize() {
    const { width, height } = this.box.getBoundingClientRect();
    if (width === 0) return;
    const v = this.#view;
    const whole = !this.width || v.size <= Math.max(this.width, this.height);
    const centre = whole ? null : this.#centre();
    const scale = whole ? 0 : width / this.width;
    this.width = width;
    this.height = height;
    v.ratio = Math.min(2, devicePixelRatio || 1);
    for (const c of this.canvases) {
      c.width = Math.round(width * v.ratio);
      c.height = Math.round(height * v.ratio);
    }
    if (whole) this.world();
    else this.#lookAt(centre.x, centre.y, v.size * scale);
    this.#draw(); // at once, since the canvases are empty now
  }

  #centre() {
    const v = this.#view;
    return { x: v.left + this.width / 2 / v.size, y: v.top + this.height / 2 / v.size };
  }

  // lookAt shows a point in the middle, and keeps the poles out of the picture.
  #lookAt(x, y, size) {
    if (!this.width) return;
    const v = this.#view;
    const smallest = Math.max(this.width, this.height);
    v.size = Math.min(Math.max(size, smallest), smallest * CLOSEST);
    v.left = x - this.width / 2 / v.size;
    v.left -= Math.floor(v.left);
    v.top = Math.min(Math.max(0, y - this.height / 2 / v.size), 1 - this.height / v.size);
    this.invalidate("land", "points", "marks");
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.#follow(), SETTLED);
  }

  // world shows everything.
  world() {
    this.#lookAt(0.5, toY(25), 0);
  }

  // go shows a position, at least as near as zoom times the world.
  go(lat, lon, zoom = 0) {
    const smallest = Math.max(this.width, this.height);
    this.#lookAt(toX(lon), toY(lat), Math.max(this.#view.size, smallest * zoom));
  }

  // zoom by a factor about a point of the picture.
  #zoom(factor, px = this.width / 2, py = this.height / 2) {
    const v = this.#view;
    const x = v.left + px / v.size;
    const y = v.top + py / v.size;
    const smallest = Math.max(this.width, this.height);
    const size = Math.min(Math.max(v.size * factor, smallest), smallest * CLOSEST);
    this.#lookAt(x + (this.width / 2 - px) / size, y + (this.height / 2 - py) / size, size);
  }

  #move(dx, dy) {
    const v = this.#view;
    const c = this.#centre();
    this.#lookAt(c.x - dx / v.size, c.y - dy / v.size, v.size);
  }

  // follow asks for another area where the present one does not fit the picture any more.
  #follow() {
    const v = this.#view;
    const wide = this.width / v.size;
    const high = this.height / v.size;
    if (wide > 0.7) {
      if (this.#box === null && this.asked) return;
      this.#box = null;
      this.asked = true;
      this.area(null);
      return;
    }
    const b = this.#box;
    if (b) {
      let dx = v.left - b.left;
      dx -= Math.floor(dx);
      const within = dx + wide <= b.right - b.left && v.top >= b.top && v.top + high <= b.bottom;
      if (within && (b.right - b.left) * (b.bottom - b.top) < 12 * wide * high) return;
    }
    const margin = 0.25;
    const box = { left: v.left - margin * wide, right: v.left + (1 + margin) * wide, top: Math.max(0, v.top - margin * high), bottom: Math.min(1, v.top + (1 + margin) * high) };
    this.#box = box;
    this.asked = true;
    // At the edges of the map, what lies beyond them is shown there.
    const north = box.top <= 0 ? 90 : toLat(box.top);
    const south = box.bottom >= 1 ? -90 : toLat(box.bottom);
    this.area({ south, north, west: toLon(box.left), east: toLon(box.right) });
  }

  setStore(store, selected) {
    this.store = store;
    this.selected = selected;
    this.invalidate("points", "marks");
  }

  // follow the selected client with a trail.
  addToTrail(index) {
    const last = this.trail.at(-1);
    const point = [this.store.x[index], this.store.y[index]];
    if (last && last[0] === point[0] && last[1] === point[1]) return;
    this.trail.push(point);
    if (this.trail.length > TRAIL) this.trail.shift();
  }

  setMarks(marks) {
    this.marks = marks.map((m) => ({ ...m, x: toX(m.lon), y: toY(m.lat) }));
    this.invalidate("marks");
  }

  invalidate(...layers) {
    for (const layer of layers) this.#dirty[layer] = true;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.width) return;
    const { land, points } = this.#dirty;
    this.#dirty = { land: false, points: false, marks: false };
    if (land) this.#drawLand();
    if (points && this.store) {
      const fading = this.points.draw(this.store, this.#view, this.colours, this.name);
      clearTimeout(this.#fade);
      if (fading) this.#fade = setTimeout(() => this.invalidate("points"), 400);
    }
    this.#drawMarks();
    this.drawn?.();
  }

  #drawLand() {
    const c = this.landContext;
    const v = this.#view;
    const { width, height } = this.canvases[0];
    c.fillStyle = this.colours.sea;
    c.fillRect(0, 0, width, height);
    c.beginPath();
    this.land.trace(c, v.left, v.top, v.size * v.ratio, width, height);
    c.fillStyle = this.colours.land;
    c.fill();
    c.strokeStyle = this.colours.landLine;
    c.lineWidth = v.ratio * 0.75;
    c.stroke();
    this.#drawGrid(c, width, height);
  }

  // drawGrid draws meridians and parallels, which are all there is far from a coast.
  #drawGrid(c, width, height) {
    const v = this.#view;
    const size = v.size * v.ratio;
    const across = (this.width / v.size) * 360;
    const step = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005].find((s) => across / s > 4) ?? 0.0005;
    const labelled = this.width / (across / step) > 56; // else longitudes would touch one another
    const digits = step >= 1 ? 0 : Math.ceil(-Math.log10(step));
    c.beginPath();
    c.font = `${11 * v.ratio}px system-ui, sans-serif`;
    c.fillStyle = this.colours.muted;
    const west = (v.left - 0.5) * 360;
    for (let lon = Math.ceil(west / step) * step; lon < west + across; lon += step) {
      const x = Math.round((lon / 360 + 0.5 - v.left) * size) + 0.5;
      c.moveTo(x, 0);
      c.lineTo(x, height);
      const shown = ((((lon + 180) % 360) + 360) % 360) - 180;
      if (labelled && x > 40 * v.ratio && x < width - 60 * v.ratio) c.fillText(`${Math.abs(shown).toFixed(digits)}°${shown < -1e-9 ? "W" : shown > 1e-9 ? "E" : ""}`, x + 4 * v.ratio, height - 6 * v.ratio);
    }
    const north = toLat(v.top);
    const south = toLat(v.top + this.height / v.size);
    for (let lat = Math.ceil(south / step) * step; lat < north; lat += step) {
      const y = Math.round((toY(lat) - v.top) * size) + 0.5;
      c.moveTo(0, y);
      c.lineTo(width, y);
      if (y > 20 * v.ratio && y < height - 24 * v.ratio) c.fillText(`${Math.abs(lat).toFixed(digits)}°${lat < -1e-9 ? "S" : lat > 1e-9 ? "N" : ""}`, 6 * v.ratio, y - 4 * v.ratio);
    }
    c.globalAlpha = 0.35;
    c.lineWidth = 1;
    c.strokeStyle = this.colours.landLine;
    c.stroke();
    c.globalAlpha = 1;
  }

  // screen is where a point of the world is in the picture, in its pixels; null outside.
  #screen(x, y) {
    const v = this.#view;
    let dx = x - v.left;
    dx -= Math.floor(dx);
    const px = dx * v.size * v.ratio;
    const py = (y - v.top) * v.size * v.ratio;
    return px < this.canvases[0].width && py >= 0 && py < this.canvases[0].height ? [px, py] : null;
  }

  #drawMarks() {
    const c = this.marksContext;
    const { ratio } = this.#view;
    c.clearRect(0, 0, this.canvases[2].width, this.canvases[2].height);
    this.#drawTrail(c, ratio);
    c.font = `${12 * ratio}px system-ui, sans-serif`;
    c.textBaseline = "middle";
    c.lineJoin = "round";
    const taken = [];
    for (const m of this.marks) {
      const at = this.#screen(m.x, m.y);
      if (!at) continue;
      const [x, y] = at;
      const r = 5 * ratio;
      c.beginPath(); // a square on its corner: no client's shape
      c.moveTo(x, y - r);
      c.lineTo(x + r, y);
      c.lineTo(x, y + r);
      c.lineTo(x - r, y);
      c.closePath();
      c.fillStyle = m.kind === "place" ? this.colours.surface : this.colours.pointNew;
      c.strokeStyle = this.colours.text;
      c.lineWidth = 1.5 * ratio;
      c.fill();
      c.stroke();
      const text = clip(m.text);
      const wide = c.measureText(text).width;
      const box = [x - r, y - 8 * ratio, x + wide + 12 * ratio, y + 8 * ratio];
      if (taken.some((t) => t[0] < box[2] && box[0] < t[2] && t[1] < box[3] && box[1] < t[3])) continue;
      taken.push(box);
      c.lineWidth = 3 * ratio;
      c.strokeStyle = this.colours.surface;
      c.strokeText(text, x + 9 * ratio, y);
      c.fillStyle = this.colours.text;
      c.fillText(text, x + 9 * ratio, y);
    }
    this.#drawSelected(c, ratio);
  }

  #drawTrail(c, ratio) {
    if (this.trail.length < 2) return;
    c.beginPath();
    let before = null;
    for (const [x, y] of this.trail) {
      const at = this.#screen(x, y);
      if (at && before && Math.abs(at[0] - before[0]) < this.canvases[0].width / 2) c.lineTo(...at);
      else if (at) c.moveTo(...at);
      before = at;
    }
    c.strokeStyle = this.colours.pointNew;
    c.lineWidth = 2.5 * ratio;
    c.lineJoin = "round";
    c.stroke();
  }

  #drawSelected(c, ratio) {
    if (this.selected < 0 || !this.store?.alive[this.selected]) return;
    const at = this.#screen(this.store.x[this.selected], this.store.y[this.selected]);
    if (!at) return;
    c.beginPath();
    c.arc(...at, 9 * ratio, 0, 2 * Math.PI);
    c.lineWidth = 3 * ratio;
    c.strokeStyle = this.colours.surface;
    c.stroke();
    c.lineWidth = 2 * ratio;
    c.strokeStyle = this.colours.pointNew;
    c.stroke();
    const text = clip(this.name(this.selected));
    c.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    c.lineWidth = 4 * ratio;
    c.strokeStyle = this.colours.surface;
    c.strokeText(text, at[0] + 13 * ratio, at[1]);
    c.fillStyle = this.colours.text;
    c.fillText(text, at[0] + 13 * ratio, at[1]);
  }

  // inView lists the indexes of clients in the picture, at most so many.
  inView(most) {
    const found = [];
    const s = this.store;
    for (let i = 0; s && i < s.end && found.length < most; i++) {
      if (s.alive[i] && this.#screen(s.x[i], s.y[i])) found.push(i);
    }
    return found;
  }

  // where describes the middle of the picture in words.
  where() {
    const { x, y } = this.#centre();
    const across = (this.width / this.#view.size) * 40075 * Math.cos((toLat(y) * Math.PI) / 180);
    return this.width / this.#view.size > 0.9 ? "the world" : `${across >= 10 ? Math.round(across).toLocaleString("en") : across.toFixed(1)} km across, around ${degrees(toLat(y), toLon(x))}`;
  }

  centre() {
    const { x, y } = this.#centre();
    return { lat: toLat(y), lon: toLon(x) };
  }

  #nearest(px, py) {
    const s = this.store;
    let best = -1;
    let least = CLICK ** 2;
    const { ratio } = this.#view;
    for (let i = 0; s && i < s.end; i++) {
      if (!s.alive[i]) continue;
      const at = this.#screen(s.x[i], s.y[i]);
      if (!at) continue;
      const d = (at[0] / ratio - px) ** 2 + (at[1] / ratio - py) ** 2;
      if (d < least) [least, best] = [d, i];
    }
    return best;
  }

  #listen() {
    const { box } = this;
    const pointers = new Map(); // by id: [x, y]
    let moved = 0;
    const position = (e) => {
      const r = box.getBoundingClientRect();
      return [e.clientX - r.left, e.clientY - r.top];
    };
    box.addEventListener("pointerdown", (e) => {
      if (e.target.closest("button") || e.button !== 0) return;
      if (pointers.size === 0) moved = 0;
      pointers.set(e.pointerId, position(e));
      box.setPointerCapture(e.pointerId);
      box.classList.add("dragging");
    });
    box.addEventListener("pointermove", (e) => {
      const from = pointers.get(e.pointerId);
      if (!from) return;
      const to = position(e);
      moved += Math.abs(to[0] - from[0]) + Math.abs(to[1] - from[1]);
      const other = [...pointers].find(([id]) => id !== e.pointerId)?.[1];
      pointers.set(e.pointerId, to);
      if (!other) {
        if (moved > 4) this.#move(to[0] - from[0], to[1] - from[1]);
        return;
      }
      const distance = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
      this.#move((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
      this.#zoom(distance(to, other) / distance(from, other), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
    });
    const release = (e) => {
      if (!pointers.delete(e.pointerId) || pointers.size > 0) return;
      box.classList.remove("dragging");
      if (e.type !== "pointerup" || moved > 4) return;
      const [px, py] = position(e);
      const v = this.#view;
      this.pick(this.#nearest(px, py), toLat(v.top + py / v.size), toLon(v.left + px / v.size));
    };
    box.addEventListener("pointerup", release);
    box.addEventListener("pointercancel", release);
    box.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.#zoom(Math.exp(-e.deltaY * (e.deltaMode === 1 ? 0.05 : 0.0016)), ...position(e));
    }, { passive: false });
    box.addEventListener("dblclick", (e) => !e.target.closest("button") && this.#zoom(2, ...position(e)));
    box.addEventListener("keydown", (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.target !== box) return;
      const steps = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
      if (e.key in steps) this.#move(...steps[e.key]);
      else if (e.key === "+" || e.key === "=") this.#zoom(1.6);
      else if (e.key === "-") this.#zoom(1 / 1.6);
      else if (e.key === "0") this.world();
      else return;
      e.preventDefault();
    });
  }

  zoomIn() {
    this.#zoom(2);
  }

  zoomOut() {
    this.#zoom(0.5);
  }
}

// channels are the red, green and blue of a colour such as #4053c8.
function channels(colour) {
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}
