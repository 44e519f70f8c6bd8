/** Fetches what lists leave out of the newest incidents, their stages, and tells what stages usually take. */

import { usualTimes } from "./stages.js";

const NEWEST = 20;
const MOST_LOOKS = 5;
const SETTLE_MS = 4_000;
const TOLD_AT_MOST_MS = 86400e3;

export class Insight {
  #store;
  #find;
  #tell;
  #asked = new Set();
  #timer = 0;
  #isOn = true;

  /**
   * @param {import("./store.js").Store} store
   * @param {(id: string) => Promise<boolean>} find fetches one incident into the store
   * @param {(times: Map<string, number>) => void} tell
   */
  constructor(store, find, tell) {
    this.#store = store;
    this.#find = find;
    this.#tell = tell;
  }

  /** Look at the newest incidents soon: what a first sighting took is known a little after it. */
  soon() {
    if (this.#timer === 0) this.#timer = setTimeout(() => this.#look(), SETTLE_MS);
  }

  /** Tell what is known now. */
  tell() {
    this.#tell(usualTimes(this.#newest()));
  }

  async #look() {
    this.#timer = 0;
    const wanted = this.#newest().filter((incident) => incident.stages === null && !this.#asked.has(incident.id));
    for (const { id } of this.#isOn ? wanted.slice(0, MOST_LOOKS) : []) {
      this.#asked.add(id);
      const isFound = await this.#find(id);
      // An API that tells no stages is not asked again for each incident.
      if (isFound && this.#store.incidents.get(id).stages === null) this.#isOn = this.#asked.size < MOST_LOOKS;
    }
    this.tell();
  }

  #newest() {
    const since = Date.now() - TOLD_AT_MOST_MS;
    return [...this.#store.incidents.values()]
      .filter((incident) => incident.firstSeen > since && !incident.isLate)
      .sort((a, b) => b.firstSeen - a.firstSeen)
      .slice(0, NEWEST);
  }
}
