// Requests to the page's own server. Addresses are relative, so that the page may be below any
// path of a proxy.

const PATIENCE = 15000;

// Refusal is an error with which the server answers.
export class Refusal extends Error {
  constructor(status, text) {
    super(text || `status ${status}`);
    this.status = status;
  }

  // isFinal is whether the same question will be refused again.
  get isFinal() {
    return this.status >= 400 && this.status < 500 && ![404, 408, 429].includes(this.status);
  }
}

// get requests JSON. query is a string that is already percent-encoded. An error's message is
// the server's line of text.
export function get(path, query) {
  return request(`./api/${path}?${query}`, {});
}

export function post(path, body) {
  return request(`./api/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

async function request(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
  } catch (err) {
    throw new Error(err.name === "TimeoutError" ? "no answer within 15 s" : "the page's server cannot be reached");
  }
  if (!response.ok) throw new Refusal(response.status, (await response.text()).trim());
  return response.json();
}
