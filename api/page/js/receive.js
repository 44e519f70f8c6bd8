/** The receive server of sessions (docs/sessions.md): the operator's list, and one session with its WebSocket. */

import { fetchJson } from "./http.js";

const LONG_POLL_S = 15;
const RECONNECTS = 5;
const RECONNECT_MS = 1_000;
/** Codes after which the session has ended, so that connecting again makes no sense. */
const ENDED = [1001, 4408, 4409];

/** Where the server's own settings say it is, and what they offer for a try; null where there are no sessions. */
export function readSettings(page = document) {
  const meta = page.querySelector('meta[name="bongsu-sessions"]');
  return meta?.content ? { url: meta.content, clip: meta.dataset.clip || null } : null;
}

export class ReceiveServer {
  #url;
  /** An operator's key, in this page's memory alone; null where none is needed. */
  key = null;

  constructor(url) {
    this.#url = url;
  }

  /** Its address and port: the only other place that the page's policy lets it connect to. */
  get host() {
    return new URL(this.#url).host;
  }

  /** Sessions, idle workers, capacity and upstream servers. @throws {import("./http.js").Refused} 401 without a key, 403 with a viewer's */
  list() {
    return fetchJson(`${this.#url}/sessions`, { headers: this.#headers() });
  }

  /**
   * A session that is ready.
   * @param {{kind: string, model: string, client: string, ttl_s: number}} asked
   * @param {(session: object) => void} onWait told of each answer while there is no worker yet
   * @param {AbortSignal} signal gives up, and ends what was asked for
   */
  async open(asked, onWait, signal) {
    let session = await fetchJson(`${this.#url}/sessions`, { method: "POST", body: asked, headers: this.#headers() });
    const { id, token } = session;
    try {
      while (session.state !== "ready") {
        signal.throwIfAborted();
        onWait(session);
        session = await fetchJson(`${this.#url}/sessions/${id}?wait_s=${LONG_POLL_S}`, { headers: { "Session-Token": token } });
      }
      signal.throwIfAborted();
    } catch (error) {
      this.end({ id, token });
      throw error;
    }
    return { ...session, token };
  }

  /** End a session; also while the page is left. Whoever fails at it has lost nothing: silence ends it too. */
  end({ id, token }) {
    const request = { method: "DELETE", keepalive: true, headers: { "Session-Token": token } };
    return fetch(`${this.#url}/sessions/${id}`, request).catch(() => undefined);
  }

  #headers() {
    return this.key === null ? {} : { Authorization: `Bearer ${this.key}` };
  }
}

/** The WebSocket of a session: takes pictures, tells results, and resumes after a broken connection. */
export class SessionSocket {
  #session;
  #act;
  #socket = null;
  #resume = "";
  #last = 0;
  #tries = 0;
  #isClosed = false;

  /**
   * @param {{url: string, token: string}} session
   * @param {{ready: () => void, result: (message: object) => void, lost: (isOver: boolean) => void}} act
   *   `ready` when pictures may be sent, also after a broken connection; `lost` with true when it has ended for good
   */
  constructor(session, act) {
    this.#session = session;
    this.#act = act;
    this.#connect();
  }

  /** Send a JPEG under a number. @param {number} n counts up from 1 @param {Blob} jpeg */
  send(n, jpeg) {
    const number = new DataView(new ArrayBuffer(4));
    number.setUint32(0, n);
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(new Blob([number, jpeg]));
  }

  close() {
    this.#isClosed = true;
    this.#socket.close();
  }

  #connect() {
    const query = this.#resume === "" ? "" : `&resume=${encodeURIComponent(this.#resume)}&after=${this.#last}`;
    const address = `${this.#session.url}?delivery=latest&in_flight=2${query}`;
    this.#socket = new WebSocket(address, ["bongsu.v1.json", `bongsu.token.${this.#session.token}`]);
    this.#socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)));
    this.#socket.addEventListener("close", ({ code }) => this.#close(code));
  }

  #take(message) {
    if (message.type === "hello") {
      this.#resume = message.resume;
      this.#tries = 0;
      this.#act.ready();
    } else if (message.type === "result" || message.type === "error") {
      this.#last = Math.max(this.#last, message.n);
      this.#act.result(message);
    }
  }

  #close(code) {
    if (this.#isClosed) return;
    this.#tries += 1;
    const isOver = ENDED.includes(code) || this.#tries > RECONNECTS;
    this.#act.lost(isOver);
    if (!isOver) setTimeout(() => this.#isClosed || this.#connect(), RECONNECT_MS);
  }
}
