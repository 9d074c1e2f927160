// Requests to the page's own server. Addresses are relative, so that the page may be below any
// path of a proxy.

const PATIENCE = 15000;

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
  if (!response.ok) throw new Error((await response.text()).trim() || `status ${response.status}`);
  return response.json();
}
