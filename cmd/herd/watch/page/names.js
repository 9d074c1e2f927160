// Names of clients. A name is any bytes without white space, so it is kept as bytes. In
// addresses each byte that needs it is percent-encoded; on the page it is read as UTF-8.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const toBytes = (text) => encoder.encode(text);
export const toText = (bytes) => decoder.decode(bytes);

// Characters that are not seen, or that change the direction of those around them: controls, line
// separators, and the embeddings, overrides and isolates of bidirectional text.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

// visible is a text in which these characters are escaped: \u202E.
export const visible = (text) => text.replace(HIDDEN, (c) => `\\u${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);

// percentEncode writes bytes for use in an address.
export function percentEncode(bytes) {
  let out = "";
  for (const b of bytes) {
    const c = String.fromCharCode(b);
    out += /[A-Za-z0-9._~-]/.test(c) ? c : `%${b.toString(16).padStart(2, "0").toUpperCase()}`;
  }
  return out;
}

// percentDecode is its reverse. What is no percent-encoding stands for itself.
export function percentDecode(text) {
  const out = [];
  for (let rest = text; rest !== ""; ) {
    const match = /^%([0-9A-Fa-f]{2})/.exec(rest);
    if (match) {
      out.push(parseInt(match[1], 16));
      rest = rest.slice(3);
    } else {
      const c = String.fromCodePoint(rest.codePointAt(0));
      out.push(...encoder.encode(c));
      rest = rest.slice(c.length);
    }
  }
  return Uint8Array.from(out);
}

// bytesOf is the bytes of a field of JSON. Those that are not UTF-8 are in another field, as base64.
export function bytesOf(object, field) {
  const base64 = object[`${field}_base64`];
  return base64 === undefined ? toBytes(object[field] ?? "") : Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// isClient reports whether bytes may be a client's ID: some bytes, without ASCII white space.
export const isClient = (bytes) => bytes.length > 0 && !bytes.some((b) => b === 0x20 || (b >= 0x09 && b <= 0x0d));

export const textOf = (object, field) => toText(bytesOf(object, field));

// parameter is the raw value of a parameter of the page's address; null without it. The usual
// way, URLSearchParams, would replace bytes that are not UTF-8, and + in locations.
export function parameter(name) {
  for (const pair of location.search.slice(1).split("&")) {
    const [key, ...value] = pair.split("=");
    if (key === name) return value.join("=");
  }
  return null;
}

export function equalBytes(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}
