/** Asks the API; a refusal is an error that knows its status and the API's own line about it. */

const PATIENCE_MS = 20_000;

export class Refused extends Error {
  /** @param {number} status HTTP status @param {string} reason the API's `detail`, or "" */
  constructor(status, reason) {
    super(reason || `HTTP ${status}`);
    this.status = status;
  }
}

/**
 * The JSON at `url`, null where the answer is empty.
 * @throws {Refused} any status but 2xx
 */
export async function fetchJson(url, { method = "GET", body, headers: more = {}, patience_ms = PATIENCE_MS } = {}) {
  const response = await ask(url, { method, body, more, patience_ms });
  return response.status === 204 ? null : response.json();
}

/**
 * The bytes at `url`, which may take a minute.
 * @throws {Refused} any status but 2xx
 */
export async function fetchBytes(url) {
  return (await ask(url, { method: "GET", more: {}, patience_ms: 3 * PATIENCE_MS })).arrayBuffer();
}

async function ask(url, { method, body, more, patience_ms }) {
  // By this header the server knows a script, and does not have the browser ask for a password in a window of its own.
  const isOurs = new URL(url, document.baseURI).origin === location.origin;
  const headers = { ...(isOurs && { "X-Requested-With": "XMLHttpRequest" }), ...more };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(url, { method, headers, body: sent, cache: "no-store", signal: AbortSignal.timeout(patience_ms) });
  if (!response.ok) throw new Refused(response.status, await reasonOf(response));
  return response;
}

async function reasonOf(response) {
  try {
    const { detail, remedy } = await response.json();
    return [detail, remedy].filter((part) => typeof part === "string").join(": ");
  } catch {
    return "";
  }
}
