// The layer of clients: each a disc where there are few, and pixels whose colour tells how many
// where there are many. The pixels are written directly, so that 50,000 clients cost
// milliseconds.

import { Labels } from "./labels.js";

const DISCS = 2500; // clients in view up to which each is a disc
const CROWD = 200; // clients in view beyond which discs are smaller
const LABELS = 60; // clients in view up to which discs have names
const FRESH = 700; // ms for which a client that has moved is marked
const CELL = 2; // pixels of a dot in the density

export class Points {
  visible = 0; // clients in the picture, as last drawn
  marked = false; // some of them are marked as moved

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.cells = new Uint16Array(0);
    this.inView = new Int32Array(0); // indexes of the clients in the picture
  }

  // setColours takes the colours of clients: point, pointNew, surface and text.
  setColours(colours) {
    const [from, to] = [channels(colours.point), channels(colours.text)];
    const ramp = [0];
    for (let step = 0; step <= 8; step++) { // 1, 2–3, 4–7, … clients in a dot
      const t = Math.min(1, step / 7);
      const [r, g, b] = from.map((v, i) => Math.round(v + (to[i] - v) * t * 0.75));
      ramp.push(pack(r, g, b, Math.round(150 + 105 * Math.min(1, t * 1.6))));
    }
    this.colours = { ...colours, ramp, fresh: pack(...channels(colours.pointNew), 255) };
  }

  // draw shows a store in a view. It returns whether marks of clients that have moved will fade.
  // selected is the index of a client whose name is in the layer above, or -1.
  draw(store, view, name, selected) {
    const { width, height } = this.canvas;
    const now = performance.now();
    const { left, top, ratio } = view;
    const size = view.size * ratio;
    const { x, y, alive, seen, end } = store;
    if (this.inView.length < end) this.inView = new Int32Array(Math.max(1024, end * 2));
    const { inView } = this;
    let count = 0;
    let fresh = 0;
    const right = width / size;
    const bottom = height / size;
    for (let i = 0; i < end; i++) {
      if (alive[i] === 0) continue;
      const dy = y[i] - top;
      if (dy < 0 || dy >= bottom) continue;
      let dx = x[i] - left;
      dx -= Math.floor(dx);
      if (dx >= right) continue;
      inView[count++] = i;
      if (now - seen[i] < FRESH) fresh++;
    }
    this.visible = count;
    this.dense = count > DISCS;
    this.marked = fresh > 0 && (!this.dense || fresh < count / 12);
    // Clients that were seen after movedSince are marked.
    const frame = { store, count, left, top, size, ratio, movedSince: this.marked ? now - FRESH : Infinity, name, selected };
    if (this.dense) this.#pixels(frame);
    else this.#discs(frame);
    return fresh > 0;
  }

  #pixels({ store, count, left, top, size, movedSince }) {
    const { x, y, seen } = store;
    const { width, height } = this.canvas;
    const across = Math.ceil(width / CELL);
    const down = Math.ceil(height / CELL);
    if (this.cells.length !== across * down || this.image?.width !== width || this.image.height !== height) {
      this.cells = new Uint16Array(across * down);
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const { cells, pixels, inView } = this;
    pixels.fill(0);
    cells.fill(0);
    const FLAG = 0x8000; // a client in this cell has just moved
    for (let k = 0; k < count; k++) {
      const i = inView[k];
      let dx = x[i] - left;
      dx -= Math.floor(dx);
      const cell = (((y[i] - top) * size) / CELL | 0) * across + ((dx * size) / CELL | 0);
      if ((cells[cell] & 0x7fff) < 0x7fff) cells[cell]++;
      if (seen[i] > movedSince) cells[cell] |= FLAG;
    }
    const { ramp, fresh } = this.colours;
    for (let row = 0, cell = 0; row < down; row++) {
      for (let column = 0; column < across; column++, cell++) {
        const n = cells[cell];
        if (n === 0) continue;
        const colour = n & FLAG ? fresh : ramp[Math.min(ramp.length - 1, 32 - Math.clz32(n))];
        const at = row * CELL * width + column * CELL;
        const wide = column * CELL + 1 < width;
        pixels[at] = colour;
        if (wide) pixels[at + 1] = colour;
        if (row * CELL + 1 < height) {
          pixels[at + width] = colour;
          if (wide) pixels[at + width + 1] = colour;
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }

  #discs({ store, count, left, top, size, ratio, movedSince, name, selected }) {
    const { colours, context: c } = this;
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const crowded = count > CROWD;
    const radius = (crowded ? 2.4 : 4.5) * ratio;
    const groups = [new Path2D(), new Path2D()];
    const places = [];
    for (let k = 0; k < count; k++) {
      const i = this.inView[k];
      let dx = store.x[i] - left;
      dx -= Math.floor(dx);
      const px = dx * size;
      const py = (store.y[i] - top) * size;
      const path = groups[store.seen[i] > movedSince ? 1 : 0];
      path.moveTo(px + radius, py);
      path.arc(px, py, radius, 0, 2 * Math.PI);
      if (count <= LABELS && i !== selected) places.push([px, py, i]);
    }
    c.lineWidth = 1.5 * ratio;
    c.strokeStyle = colours.surface;
    for (const [g, colour] of [colours.point, colours.pointNew].entries()) {
      c.fillStyle = colour;
      c.globalAlpha = crowded && g === 0 ? 0.75 : 1;
      c.fill(groups[g]);
      c.globalAlpha = 1;
      if (!crowded) c.stroke(groups[g]);
    }
    this.#writeNames(places, radius, ratio, name);
  }

  // writeNames writes names where they do not cover one another.
  #writeNames(places, radius, ratio, name) {
    const { colours, context: c } = this;
    c.font = `${12 * ratio}px system-ui, sans-serif`;
    c.textBaseline = "middle";
    c.lineWidth = 3 * ratio;
    c.lineJoin = "round";
    c.strokeStyle = colours.surface;
    c.fillStyle = colours.text;
    const labels = new Labels();
    for (const [x, y, i] of places) {
      const text = name(i);
      const box = [x, y - 8 * ratio, x + radius + 6 * ratio + c.measureText(text).width, y + 8 * ratio];
      if (!labels.take(box)) continue;
      c.strokeText(text, x + radius + 4 * ratio, y);
      c.fillText(text, x + radius + 4 * ratio, y);
    }
  }
}

// channels are the red, green and blue of a colour such as #4053c8.
const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));

// pack is a pixel of an ImageData, on a machine with little-endian numbers, as all are that have browsers.
const pack = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
