// The outlines of the land. land.bin is a sequence of rings: the number of points, and then
// each point as its difference from the one before, in 1/50 degree. All numbers are varints;
// differences are zigzag encoded.

import { toX, toY } from "./mercator.js";

const UNIT = 1 / 50;

export class Land {
  rings = []; // {points: Float32Array of x, y, left, top, right, bottom}

  // load fetches the outlines. Without them the map shows clients on an empty sea.
  async load() {
    const response = await fetch("./land.bin");
    if (response.ok) this.rings = decode(new Uint8Array(await response.arrayBuffer()));
  }

  // trace adds to the path of a context what is in view. The world is size pixels wide, and the
  // picture's left and top are in units of the world.
  trace(context, left, top, size, width, height) {
    const right = left + width / size;
    const bottom = top + height / size;
    for (const ring of this.rings) {
      if (ring.bottom < top || ring.top > bottom || (ring.right - ring.left) * size < 0.8) continue;
      for (let turn = Math.floor(left - ring.right) + 1; ring.left + turn < right; turn++) {
        const p = ring.points;
        let lastX = Infinity;
        let lastY = Infinity;
        for (let i = 0; i < p.length; i += 2) {
          const x = (p[i] + turn - left) * size;
          const y = (p[i + 1] - top) * size;
          if (i === 0) context.moveTo(x, y);
          else if (Math.abs(x - lastX) + Math.abs(y - lastY) < 0.7 && i < p.length - 2) continue;
          else context.lineTo(x, y);
          lastX = x;
          lastY = y;
        }
        context.closePath();
      }
    }
  }
}

function decode(bytes) {
  let at = 0;
  const unsigned = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const b = bytes[at++];
      value |= (b & 127) << shift;
      if (b < 128) return value;
    }
  };
  const signed = () => {
    const v = unsigned();
    return (v >>> 1) ^ -(v & 1);
  };
  const rings = [];
  let lon = 0;
  let lat = 0;
  while (at < bytes.length) {
    const n = unsigned();
    const ring = { points: new Float32Array(2 * n), left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
    for (let i = 0; i < n; i++) {
      lon += signed();
      lat += signed();
      const x = toX(lon * UNIT);
      const y = toY(lat * UNIT);
      ring.points[2 * i] = x;
      ring.points[2 * i + 1] = y;
      ring.left = Math.min(ring.left, x);
      ring.right = Math.max(ring.right, x);
      ring.top = Math.min(ring.top, y);
      ring.bottom = Math.max(ring.bottom, y);
    }
    rings.push(ring);
  }
  return rings;
}
