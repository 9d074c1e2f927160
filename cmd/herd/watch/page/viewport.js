// What part of the world the map shows. Positions are in units of the world (see mercator.js),
// or in pixels of CSS from the left and the top of the picture.

import { toLat, toLon, toX, toY } from "./mercator.js";
import { degrees } from "./numbers.js";

const CLOSEST = 2 ** 18; // how many times the world may be wider than at first
const EQUATOR = 40075; // km

export class Viewport {
  left = 0;
  top = 0;
  size = 1000; // pixels that the world is wide
  width = 0; // of the picture, in pixels
  height = 0;
  ratio = 1; // pixels of a canvas in one of CSS

  // resize keeps what is shown in the middle, and all of the world if that was shown.
  resize(width, height, ratio) {
    const all = this.width === 0 || this.isWorld;
    const centre = this.centre;
    const scale = width / this.width;
    Object.assign(this, { width, height, ratio });
    if (all) this.showWorld();
    else this.lookAt(centre.x, centre.y, this.size * scale);
  }

  // smallest is the size at which the world fills the picture.
  get smallest() {
    return Math.max(this.width, this.height);
  }

  // isWorld is whether the map cannot be zoomed out.
  get isWorld() {
    return this.size <= this.smallest;
  }

  get centre() {
    return { x: this.left + this.width / 2 / this.size, y: this.top + this.height / 2 / this.size };
  }

  #within(size) {
    return Math.min(Math.max(size, this.smallest), this.smallest * CLOSEST);
  }

  // lookAt shows a point in the middle, and keeps what is beyond the poles out of the picture.
  lookAt(x, y, size) {
    this.size = this.#within(size);
    this.left = x - this.width / 2 / this.size;
    this.left -= Math.floor(this.left);
    this.top = Math.min(Math.max(0, y - this.height / 2 / this.size), 1 - this.height / this.size);
  }

  showWorld() {
    this.lookAt(0.5, toY(25), 0);
  }

  // go shows a position, at least as near as zoom times the world.
  go(lat, lon, zoom) {
    this.lookAt(toX(lon), toY(lat), Math.max(this.size, this.smallest * zoom));
  }

  // zoom by a factor about a point of the picture, the middle by default.
  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const x = this.left + px / this.size;
    const y = this.top + py / this.size;
    const size = this.#within(this.size * factor);
    this.lookAt(x + (this.width / 2 - px) / size, y + (this.height / 2 - py) / size, size);
  }

  move(dx, dy) {
    const { x, y } = this.centre;
    this.lookAt(x - dx / this.size, y - dy / this.size, this.size);
  }

  // pixel is where a point is on a canvas, in its pixels; null outside.
  pixel(x, y) {
    let dx = x - this.left;
    dx -= Math.floor(dx);
    const px = dx * this.size;
    const py = (y - this.top) * this.size;
    return px < this.width && py >= 0 && py < this.height ? [px * this.ratio, py * this.ratio] : null;
  }

  // position is the latitude and longitude of a point of the picture.
  position(px, py) {
    return { lat: toLat(this.top + py / this.size), lon: toLon(this.left + px / this.size) };
  }

  // words describe what is shown.
  get words() {
    const share = this.width / this.size;
    if (share > 0.9) {
      const [north, south] = [this.top, this.top + this.height / this.size].map((y) => {
        const lat = Math.round(toLat(Math.min(1, Math.max(0, y))));
        return `${Math.abs(lat)}° ${lat < 0 ? "S" : "N"}`;
      });
      return `the world from ${south} to ${north}`;
    }
    const { x, y } = this.centre;
    const lat = toLat(y);
    const km = share * EQUATOR * Math.cos((lat * Math.PI) / 180);
    const across = km >= 10 ? Math.round(km).toLocaleString("en") : km.toFixed(1);
    return `${across} km across, around ${degrees(lat, toLon(x))}`;
  }
}
