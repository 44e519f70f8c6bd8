/** Reads incidents back in time, page by page, where the filters reach beyond what the live snapshot holds. */

import { fetchJson } from "./http.js";

const PAGE = 100;

export class Archive {
  #store;
  #query = "";
  #next = null;
  #isReading = false;

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.#store = store;
  }

  get hasMore() {
    return this.#next !== null;
  }

  /** Follow the filters: read the first page of what the store does not hold. Resolves to true if anything was read. */
  async follow() {
    const { filters, horizon } = this.#store;
    const isCovered = filters.from() >= horizon;
    const query = isCovered ? "" : filters.toApi(hour()).toString();
    if (query === this.#query && !isCovered) return false;
    this.#query = query;
    this.#next = null;
    return isCovered ? false : this.#read(query, null);
  }

  /** Read the next page; false where there was none. */
  async older() {
    return this.#next !== null && !this.#isReading && this.#read(this.#query, this.#next);
  }

  async #read(query, cursor) {
    const asked = new URLSearchParams(query);
    asked.set("limit", PAGE);
    if (cursor !== null) asked.set("cursor", cursor);
    this.#isReading = true;
    try {
      const page = await fetchJson(`api/incidents?${asked}`);
      // The filters may have changed while the answer was under way: then it is of no use.
      if (query !== this.#query) return false;
      this.#next = typeof page.next === "string" ? page.next : null;
      this.#store.putOld(page.features ?? []);
      return true;
    } finally {
      this.#isReading = false;
    }
  }
}

/** The present hour: a query that moved with every second would never find its next page again. */
function hour() {
  return Math.floor(Date.now() / 3600e3) * 3600e3;
}
