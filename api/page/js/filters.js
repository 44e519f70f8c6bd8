/** What the reader wants to see: hazards, time, area and status, as the page tests them and as the address bar and the API say them. */

import { HAZARDS, kind } from "./hazards.js";

export const SPANS = { hour: 3600e3, day: 86400e3, week: 7 * 86400e3, all: Infinity };
export const STATUSES = ["any", "open", "closed", "acknowledged", "false_alarm", "held"];
const USUAL_SPAN = "day";

export class Filters {
  hazards = new Set(HAZARDS);
  /** A key of SPANS, or "range": then `since` and `until` hold. */
  span = USUAL_SPAN;
  /** Milliseconds since 1970, or null for an open end. */
  since = null;
  until = null;
  status = "any";
  /** [west, south, east, north] in degrees, or null for everywhere. */
  area = null;

  /** Whether an incident is shown. */
  passes(incident, now = Date.now()) {
    // A hazard this page has no chip for is always shown: an alert must not vanish because the page is older.
    if (!this.hazards.has(incident.hazard) && kind(incident.hazard) !== "other") return false;
    return this.#passesTime(incident, now) && this.#passesStatus(incident) && this.#passesArea(incident);
  }

  /** From when on incidents are wanted, in milliseconds; -Infinity for all. */
  from(now = Date.now()) {
    return this.span === "range" ? (this.since ?? -Infinity) : now - SPANS[this.span];
  }

  get isUsual() {
    return this.toQuery().toString() === "";
  }

  /** True where something besides the hazards is not as usual. */
  get hasMore() {
    return this.span !== USUAL_SPAN || this.status !== "any" || this.area !== null;
  }

  /** Everything: also what is older than the usual day. */
  showAll() {
    Object.assign(this, new Filters(), { span: "all" });
  }

  /** The filters as a query for the address bar; what is as usual is left out. */
  toQuery() {
    const query = new URLSearchParams();
    if (this.hazards.size < HAZARDS.length) query.set("hazard", HAZARDS.filter((hazard) => this.hazards.has(hazard)).join() || "none");
    if (this.span === "range") {
      if (this.since !== null) query.set("since", iso(this.since));
      if (this.until !== null) query.set("until", iso(this.until));
    } else if (this.span !== USUAL_SPAN) query.set("span", this.span);
    if (this.status !== "any") query.set("status", this.status);
    if (this.area !== null) query.set("bbox", this.area.map((degrees) => degrees.toFixed(4)).join());
    return query;
  }

  /** The filters as a query of `/api/incidents`. */
  toApi(now = Date.now()) {
    const query = this.toQuery();
    query.delete("span");
    if (query.get("hazard") === "none") query.delete("hazard");
    if (this.span !== "range" && this.span !== "all") query.set("since", iso(this.from(now)));
    return query;
  }

  /** The filters of an address; what cannot be read is as usual. */
  static fromQuery(query) {
    const filters = new Filters();
    const hazards = query.get("hazard");
    if (hazards !== null) {
      const named = hazards.split(",").filter((hazard) => HAZARDS.includes(hazard));
      if (named.length > 0 || hazards === "none") filters.hazards = new Set(named);
    }
    const [since, until] = [time(query.get("since")), time(query.get("until"))];
    if (since !== null || until !== null) Object.assign(filters, { span: "range", since, until });
    else if (Object.hasOwn(SPANS, query.get("span"))) filters.span = query.get("span");
    if (STATUSES.includes(query.get("status"))) filters.status = query.get("status");
    filters.area = area(query.get("bbox"));
    return filters;
  }

  #passesTime(incident, now) {
    if (incident.lastSeen < this.from(now)) return false;
    return this.span !== "range" || this.until === null || incident.firstSeen <= this.until;
  }

  #passesStatus(incident) {
    if (this.status === "any") return true;
    if (this.status === "acknowledged") return incident.isAcknowledged;
    if (this.status === "false_alarm") return incident.isFalse;
    if (this.status === "held") return incident.isHeld === true;
    return incident.isFalse || incident.isHeld ? false : incident.isOpen === (this.status === "open");
  }

  #passesArea({ lat, lon }) {
    if (this.area === null) return true;
    const [west, south, east, north] = this.area;
    const isBetween = west <= east ? lon >= west && lon <= east : lon >= west || lon <= east;
    return isBetween && lat >= south && lat <= north;
  }
}

function iso(at) {
  return new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
}

function time(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? null : at;
}

function area(text) {
  const edges = (text ?? "").split(",").map(Number);
  const isBox = text && edges.length === 4 && edges.every(Number.isFinite);
  return isBox && Math.abs(edges[0]) <= 180 && Math.abs(edges[2]) <= 180 && edges[1] >= -90 && edges[1] <= edges[3] && edges[3] <= 90 ? edges : null;
}
