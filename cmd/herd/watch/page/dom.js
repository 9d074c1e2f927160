// Small steps with the document. Text always goes in as text, never as HTML.

import { visible } from "./names.js";
import { OLD_AFTER, ago } from "./numbers.js";

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

// element makes an HTML element with attributes, and children that are elements or text.
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// svg makes an SVG element.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(e, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

// setText writes only what has changed, so that nothing is laid out or read out again.
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export function setAttribute(e, name, value) {
  if (e.getAttribute(name) !== value) e.setAttribute(name, value);
}

// setFigure shows a figure. One that is old is paler, and its age, in seconds, stands beside it. By default
// old is whether the age says so.
export function setFigure(e, text, age, old = age > OLD_AFTER) {
  e.classList.toggle("old", old);
  if (!old) return setText(e, text);
  const note = ago(age);
  if (e.textContent === `${text} ${note}`) return;
  e.replaceChildren(`${text} `, element("span", { class: "old-note" }, note));
}

// stateClass is the class of a state: "not ready" is not-ready.
export const stateClass = (state) => state.replaceAll(" ", "-");

// setParts replaces the children of an element by elements and text, if its text has changed.
export function setParts(e, ...parts) {
  const text = parts.map((p) => p.textContent ?? p).join("");
  if (e.textContent !== text) e.replaceChildren(...parts);
}

// name is a name of others, such as a client's. Whatever direction its letters are written in, the
// words around it stay as they are.
export const name = (text) => element("bdi", {}, visible(text));

// clippedName is a name for a label. A title has the whole one if it is clipped.
export function clippedName(text) {
  const clipped = clip(text);
  return element("bdi", clipped === visible(text) ? {} : { title: visible(text) }, clipped);
}

// line is a line of a protocol, such as a record. It runs from left to right, with a client's name
// isolated in it.
export function line(text, client) {
  const fields = text.split(" ");
  const at = fields.lastIndexOf(client);
  if (at < 0) return [visible(text)];
  const [before, after] = [fields.slice(0, at), fields.slice(at + 1)].map((some) => visible(some.join(" ")));
  return [before && `${before} `, name(client), after && ` ${after}`];
}

// clip shortens a text for a label, since the name of a client may have 8,000 bytes. limit is the
// maximum number of characters.
export function clip(text, limit = 32) {
  const all = visible(text);
  if (all.length <= limit) return all;
  const characters = [...all]; // not halves of them
  return characters.length > limit ? `${characters.slice(0, limit - 1).join("")}…` : all;
}
