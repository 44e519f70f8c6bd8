/** The address bar: view, filters and the open incident, so that a link shows another reader the same. */

import { BASE } from "./dom.js";
import { Filters } from "./filters.js";

/** Views that have a path of their own. */
const PATHS = ["feed", "nodes", "drive", "sessions"];

/** What an address asks for. The form `#incident=12` of older links is read too. */
export function readAddress({ pathname, search, hash } = location) {
  const query = new URLSearchParams(search);
  const asked = query.get("incident") ?? new URLSearchParams(hash.slice(1)).get("incident");
  // Behind a proxy the page may lie under a path of its own.
  const name = pathname.startsWith(BASE) ? pathname.slice(BASE.length).replace(/\/$/, "") : "";
  const view = PATHS.includes(name) ? name : hash === "#relay" ? "relay" : "map";
  return { view, incident: asked || null, filters: Filters.fromQuery(query) };
}

/** The address of a view with these filters and this incident (or null). */
export function addressOf({ view, incident, filters }) {
  const query = filters.toQuery();
  if (incident !== null) query.set("incident", incident);
  // Commas are as good as their escapes in a query, and a person can read them.
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `${BASE}${PATHS.includes(view) ? view : ""}${text && `?${text}`}${view === "relay" ? "#relay" : ""}`;
}
