// Pointer, wheel and keys on the map.

const STILL = 4; // pixels that a pointer may move in a click
const TWICE = 400; // ms between clicks up to which the second is part of a double click
const STEP = 80; // pixels that an arrow key moves the map

// listen calls move(dx, dy), zoom(factor, x, y), world() and click(x, y) of a map, in pixels of its box.
// isWorld tells whether the map shows the whole world: then the wheel scrolls the page, where it would zoom out.
export function listen(box, { move, zoom, world, click, isWorld }) {
  const pointers = new Map(); // by id: [x, y]
  let moved = 0;
  let last = { at: -Infinity, x: 0, y: 0 }; // the last click
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
      if (moved > STILL) move(to[0] - from[0], to[1] - from[1]);
      return;
    }
    const distance = (a, b) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));
    move((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
    zoom(distance(to, other) / distance(from, other), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
  });
  const release = (e) => {
    if (!pointers.delete(e.pointerId) || pointers.size > 0) return;
    box.classList.remove("dragging");
    if (e.type !== "pointerup" || moved > STILL) return;
    const [x, y] = position(e);
    const again = e.timeStamp - last.at < TWICE && Math.hypot(x - last.x, y - last.y) <= 2 * STILL;
    last = { at: e.timeStamp, x, y };
    if (!again) click(x, y); // a double click is one click, and zooms
  };
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", release);

  box.addEventListener(
    "wheel",
    (e) => {
      if (e.deltaY === 0 || (e.deltaY > 0 && isWorld())) return;
      e.preventDefault();
      zoom(Math.exp(-e.deltaY * (e.deltaMode === WheelEvent.DOM_DELTA_LINE ? 0.05 : 0.0016)), ...position(e));
    },
    { passive: false },
  );
  box.addEventListener("dblclick", (e) => e.target.closest("button") || zoom(2, ...position(e)));
  box.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target !== box) return;
    const steps = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (e.key in steps) move(...steps[e.key]);
    else if (e.key === "+" || e.key === "=") zoom(1.6);
    else if (e.key === "-") zoom(1 / 1.6);
    else if (e.key === "0") world();
    else return;
    e.preventDefault();
  });
}
