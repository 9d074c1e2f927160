// How numbers, rates and ages are written.

// Data that is older than this, in seconds, is shown with its age.
export const OLD_AFTER = 3;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// What stands for a figure that is not known.
export const NOT_KNOWN = "–";

export function count(n) {
  return n === undefined ? NOT_KNOWN : whole.format(n);
}

// rate is a number of records per second.
export function rate(n) {
  if (n === undefined) return NOT_KNOWN;
  return n === 0 || n >= 100 ? whole.format(n) : tenths.format(n);
}

export function milliseconds(ms) {
  if (ms === undefined) return NOT_KNOWN;
  if (ms < 0.05) return "< 0.1 ms";
  return ms >= 1000 ? `${tenths.format(ms / 1000)} s` : ms >= 10 ? `${whole.format(ms)} ms` : `${tenths.format(ms)} ms`;
}

// span is a time in seconds, in the unit that suits it.
export function span(seconds) {
  if (seconds === undefined) return NOT_KNOWN;
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${tenths.format(s)} s`;
  if (s < 120) return `${whole.format(Math.floor(s))} s`;
  if (s < 7200) return `${whole.format(Math.floor(s / 60))} min`;
  if (s < 172800) return `${whole.format(Math.floor(s / 3600))} h`;
  return `${whole.format(Math.floor(s / 86400))} days`;
}

// wholeSpan is a time in seconds, in whole units.
export function wholeSpan(seconds) {
  return seconds < 10 ? `${Math.max(0, Math.floor(seconds))} s` : span(seconds);
}

// ago is how long ago something was, in whole units.
export function ago(seconds) {
  return `${wholeSpan(seconds)} ago`;
}

// dateTime is a time, in seconds since 1970, as a date and a time of UTC, as servers log it.
export function dateTime(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z");
}

// clock is the same without the date, if that is today's.
export function clock(seconds, now = Date.now() / 1000) {
  const [date, time] = dateTime(seconds).split(" ");
  return dateTime(now).startsWith(`${date} `) ? time : `${date} ${time}`;
}

// plural is "1 client" or "2 clients".
export function plural(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

// list joins words: "A", "A and B", "A, B and C".
export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

// distance is how far positions are from each other, [lat, lon] in degrees, in km.
export function distance([lat1, lon1], [lat2, lon2]) {
  const sin2 = (degrees) => Math.sin((degrees * Math.PI) / 360) ** 2; // of the half
  const cos = (degrees) => Math.cos((degrees * Math.PI) / 180);
  return 12742 * Math.asin(Math.sqrt(Math.min(1, sin2(lat2 - lat1) + cos(lat1) * cos(lat2) * sin2(lon2 - lon1))));
}

// degrees is a position as clients write it: +34.0689-118.4451.
export function degrees(lat, lon) {
  const signed = (v) => (v < 0 ? "-" : "+") + Math.abs(v).toFixed(4);
  return signed(lat) + signed(lon);
}
