// The layer of marks above the clients: places and results of a search, the trail of the
// selected client, and the client itself.

import { clip } from "./dom.js";
import { Labels } from "./labels.js";

export class Marks {
  trail = []; // [x, y] in units of the world
  list = []; // {x, y, text, kind}: kind is "place" or "client"

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
  }

  // draw draws everything. selected is the selected client, {x, y, name}, or null.
  draw(view, colours, selected) {
    const c = this.context;
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    c.textBaseline = "middle";
    c.lineJoin = "round";
    this.#drawTrail(view, colours);
    const name = selected && this.#selectedName(view, selected);
    const labels = new Labels();
    if (name) labels.take(name.box);
    this.#drawList(view, colours, labels);
    if (name) this.#drawSelected(view, colours, name);
  }

  #drawTrail(view, colours) {
    if (this.trail.length < 2) return;
    const c = this.context;
    c.beginPath();
    let before = null;
    for (const [x, y] of this.trail) {
      const at = view.pixel(x, y);
      const goesOn = at && before && Math.abs(at[0] - before[0]) < this.canvas.width / 2; // not around the world
      if (goesOn) c.lineTo(...at);
      else if (at) c.moveTo(...at);
      before = at;
    }
    c.strokeStyle = colours.pointNew;
    c.lineWidth = 2.5 * view.ratio;
    c.stroke();
  }

  // drawList draws marks, and the names for which there is room.
  #drawList(view, colours, labels) {
    const c = this.context;
    const { ratio } = view;
    const r = 5 * ratio;
    c.font = `${12 * ratio}px system-ui, sans-serif`;
    for (const mark of this.list) {
      const at = view.pixel(mark.x, mark.y);
      if (!at) continue;
      const [x, y] = at;
      c.beginPath(); // a square on its corner: no client's shape
      c.moveTo(x, y - r);
      c.lineTo(x + r, y);
      c.lineTo(x, y + r);
      c.lineTo(x - r, y);
      c.closePath();
      c.fillStyle = mark.kind === "place" ? colours.surface : colours.pointNew;
      c.strokeStyle = colours.text;
      c.lineWidth = 1.5 * ratio;
      c.fill();
      c.stroke();
      const text = clip(mark.text);
      const box = [x - r, y - 8 * ratio, x + c.measureText(text).width + 12 * ratio, y + 8 * ratio];
      if (labels.take(box)) this.#write(text, x + 9 * ratio, y, 3 * ratio, colours);
    }
  }

  // selectedName is where the selected client and its name are, or null.
  #selectedName(view, { x, y, name }) {
    const at = view.pixel(x, y);
    if (!at) return null;
    const text = clip(name);
    this.context.font = selectedFont(view.ratio);
    const right = at[0] + 15 * view.ratio + this.context.measureText(text).width;
    return { text, at, box: [at[0], at[1] - 9 * view.ratio, right, at[1] + 9 * view.ratio] };
  }

  #drawSelected({ ratio }, colours, { text, at }) {
    const c = this.context;
    c.beginPath();
    c.arc(...at, 9 * ratio, 0, 2 * Math.PI);
    c.lineWidth = 4 * ratio;
    c.strokeStyle = colours.surface;
    c.stroke();
    c.lineWidth = 2 * ratio;
    c.strokeStyle = colours.pointNew;
    c.stroke();
    c.font = selectedFont(ratio);
    this.#write(text, at[0] + 13 * ratio, at[1], 4 * ratio, colours);
  }

  #write(text, x, y, halo, colours) {
    const c = this.context;
    c.lineWidth = halo;
    c.strokeStyle = colours.surface;
    c.strokeText(text, x, y);
    c.fillStyle = colours.text;
    c.fillText(text, x, y);
  }
}

const selectedFont = (ratio) => `600 ${13 * ratio}px system-ui, sans-serif`;
