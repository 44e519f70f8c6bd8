/** Who the reader is to the API, and what an operator decides about an incident. */

import { fetchJson } from "./http.js";

export class Session extends EventTarget {
  name = null;
  /** null, "viewer", "operator" or "node". */
  role = null;
  /** Whether reading needs a key. */
  needsKey = false;
  /** Whether there is any operator's key, so that signing in makes sense. */
  reviews = false;
  /** Whether the reader may fetch the sealed clips of incidents. */
  clips = false;
  /** Whether mosaicked clips of incidents are shown to everybody. */
  videos = false;

  get canReview() {
    return this.role === "operator";
  }

  /** Ask the API; where it has no sessions the reader is a visitor, and nothing more is shown. */
  async load() {
    try {
      this.#take(await fetchJson("api/session"));
    } catch {
      this.#take({});
    }
  }

  /** @throws {import("./http.js").Refused} the key is not known, or too many were tried */
  async signIn(key) {
    await fetchJson("api/session", { method: "POST", body: { key } });
    await this.load();
  }

  async signOut() {
    await fetchJson("api/session", { method: "DELETE" });
    await this.load();
  }

  #take({ name = null, role = null, read = "open", reviews = false, clips = false, videos = false }) {
    Object.assign(this, { name, role, needsKey: read === "key", reviews, clips, videos });
    this.dispatchEvent(new Event("change"));
  }
}

/** The Feature of the incident after `verdict`: "acknowledged" or "false_alarm"; null takes the last one back. */
export function review(incident, verdict, note = "") {
  const url = `api/incidents/${encodeURIComponent(incident)}/review`;
  return verdict === null ? fetchJson(url, { method: "DELETE" }) : fetchJson(url, { method: "POST", body: { verdict, note } });
}
