// The area whose clients the map follows: somewhat more than it shows, so that small movements
// need no new stream.

import { toLat, toLon } from "./mercator.js";

const MARGIN = 0.25; // of the picture, on each side
const WASTE = 12; // how many times the area may be larger than the picture

export class Area {
  #box = undefined; // undefined before the first; null for the world

  // next is the area for a view, {south, west, north, east} in degrees or null for the world. It is
  // undefined if the present one is still right.
  next(view) {
    const wide = view.width / view.size;
    const high = view.height / view.size;
    if (wide * (1 + 2 * MARGIN) >= 1) { // with its margins it would overlap itself
      if (this.#box === null) return undefined;
      this.#box = null;
      return null;
    }
    if (this.#box && this.#covers(view, wide, high)) return undefined;
    const box = {
      left: view.left - MARGIN * wide,
      right: view.left + (1 + MARGIN) * wide,
      top: Math.max(0, view.top - MARGIN * high),
      bottom: Math.min(1, view.top + (1 + MARGIN) * high),
    };
    this.#box = box;
    // What lies beyond the upper and the lower edge of the map is shown there.
    return {
      south: box.bottom >= 1 ? -90 : toLat(box.bottom),
      north: box.top <= 0 ? 90 : toLat(box.top),
      west: toLon(box.left),
      east: toLon(box.right),
    };
  }

  #covers(view, wide, high) {
    const b = this.#box;
    let dx = view.left - b.left;
    dx -= Math.floor(dx);
    const covered = dx + wide <= b.right - b.left && view.top >= b.top && view.top + high <= b.bottom;
    return covered && (b.right - b.left) * (b.bottom - b.top) < WASTE * wide * high;
  }
}
