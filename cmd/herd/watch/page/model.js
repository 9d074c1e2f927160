// What the page shows, worked out from what the feed last said and from how long ago that was.
// Pure functions: the other modules put the result on the screen.

import { OLD_AFTER, ago, count, list, plural, rate, wholeSpan, milliseconds } from "./numbers.js";

// SIGNS are the signs of states in text.
export const SIGNS = { up: "✓", "in step": "✓", starting: "…", "not ready": "!", behind: "»", down: "×", cut: "//", unknown: "?" };

// herdModel returns the state of the herd. silence is how long the feed has been silent, in seconds.
// Nothing that is older than OLD_AFTER keeps its state: it is unknown, and was something. The same
// holds before anything was heard at all (never), and while no server replies (herd.silent).
export function herdModel(hello, herd, silence) {
  const age = silence + (herd.heard ?? 0);
  const never = herd.heard === undefined;
  const old = never || herd.silent || age > OLD_AFTER;
  const told = new Map(herd.servers.map((s) => [s.name, s]));
  const servers = hello.servers.map((s) => readServer(s, told.get(s.name) ?? { state: "unknown" }, herd, silence, old, never, age));
  const toldEdges = new Map(herd.edges.map((e) => [`${e.a} ${e.b}`, e]));
  const edges = hello.edges.map((e) => readEdge(e, toldEdges.get(`${e.a} ${e.b}`) ?? { state: "unknown" }, old, never, age));
  const model = { age, old, never, silence, bus: herd.bus, servers, edges, pairs: herd.pairs ?? [], differences: herd.differences ?? [] };
  if (herd.bus === "disconnected") model.busWhy = herd.busWhy; // why it is
  model.well = !old && servers.every((s) => s.state === "up") && edges.every((e) => e.state === "in step");
  model.headline = headline(model);
  return model;
}

// was says what the state is that is too old to be true.
const was = (state, never, age) => (never || state === "unknown" ? "" : `was ${state} ${ago(age)}`);

function readServer(place, told, herd, silence, old, never, age) {
  const s = { ...place, ...told, address: place.clients, clients: told.clients };
  s.age = silence + Math.max(told.heard ?? 0, herd.bus === "disconnected" ? herd.heard ?? 0 : 0);
  if (old) {
    s.why = was(told.state, never, age);
    s.state = "unknown";
  }
  const heartbeat = told.heartbeat === undefined ? "" : `heartbeat ${ago(told.heartbeat + silence)}`;
  const rates = [s.in !== undefined && `${rate(s.in)} records in`, s.out !== undefined && `${rate(s.out)}${s.in === undefined ? " records" : ""} out`].filter(Boolean);
  const traffic = rates.length > 0 && `${rates.join(" and ")} per second`;
  const lag = s.lagMs !== undefined && `lag ${milliseconds(s.lagMs)}`;
  const sessions = s.sessions !== undefined && plural(s.sessions, "session");
  s.figures = [plural(s.clients ?? 0, "client"), traffic, lag, heartbeat, sessions].filter(Boolean).join(", ");
  if (told.clients === undefined) s.figures = "its figures are not known";
  s.words = `${s.state}${s.why ? ` (${s.why})` : ""}: ${s.figures}${s.age > OLD_AFTER && !never ? `; as of ${ago(s.age)}` : ""}`;
  return s;
}

function readEdge(place, told, old, never, age) {
  const e = { ...told, ...place, key: `${place.a} ${place.b}`, rate: (told.ab ?? 0) + (told.ba ?? 0) };
  if (old) {
    e.why = was(told.state, never, age);
    e.state = "unknown";
  }
  const known = told.ab !== undefined || told.ba !== undefined;
  const rates = `${rate(told.ab ?? 0)} records per second from ${e.a} to ${e.b}, ${rate(told.ba ?? 0)} back`;
  const traffic = known ? rates : "its traffic is not known";
  e.words = `${e.state}${e.why ? ` (${e.why})` : ""}: ${traffic}${old && !never ? `; as of ${ago(age)}` : ""}`;
  return e;
}

// headline says in one or two sentences how the herd is.
function headline(m) {
  if (m.never && m.bus === "disconnected") return "NATS is not reachable. Nothing was heard yet.";
  if (m.never) return "Nothing was heard from the herd yet.";
  if (m.old && m.bus === "disconnected") return `NATS is disconnected. Nothing was heard from the herd for ${wholeSpan(m.age)}.`;
  if (m.old) return `Nothing was heard from the herd for ${wholeSpan(m.age)}. What you see is old.`;
  const n = m.servers.length;
  const bad = new Map(); // names, by state
  const add = (state, name) => bad.set(state, [...(bad.get(state) ?? []), name]);
  for (const s of m.servers) {
    if (s.state !== "up") add(s.state, s.name);
  }
  for (const e of m.edges) {
    const explained = e.state !== "cut" && m.servers.some((s) => (s.name === e.a || s.name === e.b) && s.state !== "up");
    if (e.state !== "in step" && !explained) add(e.state, `${e.a}–${e.b}`);
  }
  if (bad.size > 0) {
    const sentences = [...bad].map(([state, names]) => {
      const shown = names.length > 3 ? [...names.slice(0, 2), `${names.length - 2} others`] : names;
      return `${list(shown)} ${names.length === 1 ? "is" : "are"} ${state}.`;
    });
    return sentences.join(" ");
  }
  const clients = m.servers[0]?.clients;
  const recently = m.pairs.every((p) => p.equal || (p.ago !== undefined && p.ago < OLD_AFTER));
  const servers = n === 1 ? "The only server is up" : `All ${n} servers are up`;
  if (m.pairs.every((p) => p.equal)) return `${servers} and ${n === 1 ? "holds" : "hold the same"} ${plural(clients ?? 0, "client")}.`;
  if (recently) return `${servers}. They were equal moments ago; reports are on their way.`;
  return `${servers}, but their records differ.`;
}

// outOf says how many of all have a state. None is said only if the state of each is known.
const outOf = (n, all) => (n === 0 && all.some(({ state }) => state === "unknown") ? "?" : `${n} of ${all.length}`);

// totals are the figures of the whole herd, as text. Figures of clients and records are of the
// servers that were heard just now; without any, of the one heard last, and age is its age in seconds.
export function totals(m) {
  const up = m.servers.filter((s) => s.state === "up").length;
  const inStep = m.edges.filter((e) => e.state === "in step").length;
  let known = m.servers.filter((s) => s.clients !== undefined && s.age <= OLD_AFTER && s.state !== "down");
  let age = m.never ? undefined : m.age;
  if (known.length === 0) {
    known = m.servers.filter((s) => s.clients !== undefined).sort((a, b) => a.age - b.age).slice(0, 1);
    if (known.length > 0) age = Math.max(m.age, known[0].age);
  }
  const none = m.never ? "?" : "–";
  return {
    servers: m.old ? "?" : outOf(up, m.servers),
    edges: m.old ? "?" : outOf(inStep, m.edges),
    age,
    clients: known.length === 0 ? none : count(Math.max(...known.map((s) => s.clients))),
    rate: known.length === 0 ? none : rate(known.reduce((sum, s) => sum + (s.in ?? 0), 0)),
  };
}
