// Meridians and parallels, which are all there is on the map far from a coast.

import { toLat, toY } from "./mercator.js";

const STEPS = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005]; // degrees
const LINES = 4; // meridians in the picture, at least
const APART = 56; // pixels between the labels of two meridians, at least

// drawGrid draws the lines of a view, and labels at the lower and the left edge.
export function drawGrid(context, view, colours) {
  const { ratio } = view;
  const size = view.size * ratio;
  const width = view.width * ratio;
  const height = view.height * ratio;
  const across = (view.width / view.size) * 360;
  const step = STEPS.find((s) => across / s > LINES) ?? STEPS.at(-1);
  const digits = step >= 1 ? 0 : Math.ceil(-Math.log10(step));
  const label = (degrees, negative, positive) => {
    const text = Math.abs(degrees).toFixed(digits);
    return `${text}°${Number(text) === 0 ? "" : degrees < 0 ? negative : positive}`;
  };
  context.beginPath();
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.fillStyle = colours.muted;

  const west = (view.left - 0.5) * 360;
  for (let lon = Math.ceil(west / step) * step; lon < west + across; lon += step) {
    const x = Math.round((lon / 360 + 0.5 - view.left) * size) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, height);
    const room = view.width / (across / step) > APART && x > 40 * ratio && x < width - 60 * ratio;
    if (room) context.fillText(label(((((lon + 180) % 360) + 360) % 360) - 180, "W", "E"), x + 4 * ratio, height - 6 * ratio);
  }
  const north = toLat(view.top);
  const south = toLat(view.top + view.height / view.size);
  for (let lat = Math.ceil(south / step) * step; lat < north; lat += step) {
    const y = Math.round((toY(lat) - view.top) * size) + 0.5;
    context.moveTo(0, y);
    context.lineTo(width, y);
    if (y > 20 * ratio && y < height - 24 * ratio) context.fillText(label(lat, "S", "N"), 6 * ratio, y - 4 * ratio);
  }
  context.globalAlpha = 0.35;
  context.lineWidth = 1;
  context.strokeStyle = colours.landLine;
  context.stroke();
  context.globalAlpha = 1;
}
