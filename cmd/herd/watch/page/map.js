// The map: three canvases above one another. The land is drawn when the view changes, the
// clients when they have changed, and the marks when something else has. Nothing is drawn while
// nothing changes.

import { Area } from "./area.js";
import { drawGrid } from "./grid.js";
import { listen } from "./mapinput.js";
import { Marks } from "./marks.js";
import { toX, toY } from "./mercator.js";
import { Points } from "./points.js";
import { Viewport } from "./viewport.js";

const CLICK = 14; // pixels between a click and the client that it means
const TRAIL = 500; // points of the trail
const SETTLED = 350; // ms after the last movement until the area of the stream follows
const FADE = 400; // ms until clients that have moved are drawn again, without their mark

export class WorldMap {
  #view = new Viewport();
  #area = new Area();
  #changed = { land: true, points: true };
  #frame = 0;
  #settle = 0;
  #fade = 0;

  store = null;
  selected = -1; // index of the selected client

  // follow is called with the area to follow, when it changes; pick with the index of the
  // client at a click, -1 where none is near, and the position; drawn after each drawing. name
  // returns the name of a client.
  constructor({ box, land, landCanvas, pointsCanvas, marksCanvas, follow, pick, drawn, name }) {
    Object.assign(this, { box, land, follow, pick, drawn, name });
    this.canvases = [landCanvas, pointsCanvas, marksCanvas];
    this.context = landCanvas.getContext("2d", { willReadFrequently: true });
    this.points = new Points(pointsCanvas);
    this.marks = new Marks(marksCanvas);
    this.#readColours();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColours());
    matchMedia("print").addEventListener("change", () => {
      this.#readColours();
      this.#draw(); // at once: no frame comes before the page is printed
    });
    new ResizeObserver(() => this.#resize()).observe(box);
    listen(box, {
      move: (dx, dy) => this.#show(() => this.#view.move(dx, dy)),
      zoom: (...how) => this.zoom(...how),
      world: () => this.world(),
      isWorld: () => this.#view.isWorld,
      click: (x, y) => {
        const { lat, lon } = this.#view.position(x, y);
        this.pick(this.#nearest(x, y), lat, lon);
      },
    });
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    this.colours = {
      sea: value("--sea"), land: value("--land"), landLine: value("--land-line"),
      text: value("--text"), muted: value("--muted"), surface: value("--surface"),
      point: value("--point"), pointNew: value("--point-new"),
    };
    this.points.setColours(this.colours);
    this.invalidate("land", "points");
  }

  #resize() {
    const { width, height } = this.box.getBoundingClientRect();
    if (width === 0) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    for (const c of this.canvases) {
      c.width = Math.round(width * ratio);
      c.height = Math.round(height * ratio);
    }
    this.#show(() => this.#view.resize(width, height, ratio));
    this.#draw(); // at once, since the canvases are empty now
  }

  // show changes the view, and then what depends on it.
  #show(change) {
    change();
    this.invalidate("land", "points");
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => {
      const area = this.#area.next(this.#view);
      if (area !== undefined) this.follow(area);
    }, SETTLED);
  }

  world() {
    this.#show(() => this.#view.showWorld());
  }

  go(lat, lon, zoom) {
    this.#show(() => this.#view.go(lat, lon, zoom));
  }

  zoom(...how) {
    this.#show(() => this.#view.zoom(...how));
  }

  // words describe what part of the world is shown.
  get words() {
    return this.#view.words;
  }

  setStore(store, selected) {
    this.store = store;
    this.selected = selected;
    this.invalidate("points");
  }

  // addToTrail notes where the selected client is now.
  addToTrail(store, index) {
    const { trail } = this.marks;
    const point = [store.x[index], store.y[index]];
    const last = trail.at(-1);
    if (last && last[0] === point[0] && last[1] === point[1]) return;
    trail.push(point);
    if (trail.length > TRAIL) trail.shift();
  }

  clearTrail() {
    this.marks.trail = [];
    this.invalidate();
  }

  // setMarks shows marks, each {lat, lon, text, kind}.
  setMarks(marks) {
    this.marks.list = marks.map((m) => ({ ...m, x: toX(m.lon), y: toY(m.lat) }));
    this.invalidate();
  }

  // invalidate draws layers with the next frame, and the marks in any case.
  invalidate(...layers) {
    for (const layer of layers) this.#changed[layer] = true;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#view.width === 0) return;
    const { land, points } = this.#changed;
    this.#changed = { land: false, points: false };
    const { store, selected } = this;
    if (land) this.#drawLand();
    if (points && store) {
      const fading = this.points.draw(store, this.#view, this.name, selected);
      clearTimeout(this.#fade);
      if (fading) this.#fade = setTimeout(() => this.invalidate("points"), FADE);
    }
    const shown = selected >= 0 && store.alive[selected];
    this.marks.draw(this.#view, this.colours, shown ? { x: store.x[selected], y: store.y[selected], name: this.name(selected) } : null);
    this.drawn();
  }

  #drawLand() {
    const c = this.context;
    const view = this.#view;
    const { width, height } = this.canvases[0];
    c.fillStyle = this.colours.sea;
    c.fillRect(0, 0, width, height);
    c.beginPath();
    this.land.trace(c, view.left, view.top, view.size * view.ratio, width, height);
    c.fillStyle = this.colours.land;
    c.fill();
    c.strokeStyle = this.colours.landLine;
    c.lineWidth = view.ratio * 0.75;
    c.stroke();
    drawGrid(c, view, this.colours);
  }

  // inView lists the indexes of clients in the picture, and stops at a limit.
  inView(limit) {
    const found = [];
    const s = this.store;
    for (let i = 0; s && i < s.end && found.length < limit; i++) {
      if (s.alive[i] && this.#view.pixel(s.x[i], s.y[i])) found.push(i);
    }
    return found;
  }

  #nearest(x, y) {
    const s = this.store;
    const { ratio } = this.#view;
    let best = -1;
    let least = CLICK ** 2;
    for (let i = 0; s && i < s.end; i++) {
      const at = s.alive[i] ? this.#view.pixel(s.x[i], s.y[i]) : null;
      const distance = at ? (at[0] / ratio - x) ** 2 + (at[1] / ratio - y) ** 2 : Infinity;
      if (distance < least) [least, best] = [distance, i];
    }
    return best;
  }
}
