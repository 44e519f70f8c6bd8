/** The bar of filters: hazards, time, status and area; on a phone all but the hazards fold away. */

import { el, setText } from "./dom.js";
import { SPANS, STATUSES } from "./filters.js";
import { badge, HAZARDS } from "./hazards.js";
import { nameOf, t } from "./i18n.js";

const DAY_MS = 86400e3;

export class FilterBar {
  #store;
  #areaOfMap;
  #parts;

  /**
   * @param {Document} page holds the elements of the bar
   * @param {import("./store.js").Store} store
   * @param {() => number[]} areaOfMap what the map shows, as [west, south, east, north]
   */
  constructor(page, store, areaOfMap) {
    this.#store = store;
    this.#areaOfMap = areaOfMap;
    const byId = (id) => page.getElementById(id);
    const parts = { bar: byId("filters"), chips: byId("hazards"), spans: byId("spans"), more: byId("more"), since: byId("since"), until: byId("until"), range: byId("range"), wrong: byId("range-wrong"), status: byId("status"), area: byId("area"), hidden: byId("hidden"), hiddenCount: byId("hidden-count") };
    this.#parts = parts;
    parts.chips.append(...HAZARDS.map((hazard) => el("button", { type: "button", class: `chip hazard-${hazard}`, "data-hazard": hazard, onclick: () => this.#toggle(hazard) }, badge(hazard), el("span"))));
    parts.spans.append(...[...Object.keys(SPANS), "range"].map((span) => el("button", { type: "button", class: "segment", "data-span": span, onclick: () => this.#choose(span) })));
    parts.status.append(...STATUSES.map((status) => el("option", { value: status })));
    parts.status.addEventListener("change", () => store.filter((filters) => (filters.status = parts.status.value)));
    parts.area.addEventListener("click", () => store.filter((filters) => (filters.area = filters.area === null ? areaOfMap() : null)));
    for (const field of [parts.since, parts.until]) field.addEventListener("change", () => this.#takeRange());
    parts.more.addEventListener("click", () => this.#fold(parts.bar.classList.contains("is-open")));
    for (const reset of page.querySelectorAll("[data-reset]")) reset.addEventListener("click", () => store.filter((filters) => filters.showAll()));
  }

  /** The map has moved: where only its view is asked for, that has moved too. */
  followMap() {
    if (this.#store.filters.area === null) return;
    const area = this.#areaOfMap();
    if (area.join() !== this.#store.filters.area.join()) this.#store.filter((filters) => (filters.area = area));
  }

  /** Show the state of the filters; `hidden` cards do not pass them. */
  show(hidden) {
    const { filters } = this.#store;
    const parts = this.#parts;
    for (const chip of parts.chips.children) chip.setAttribute("aria-pressed", filters.hazards.has(chip.dataset.hazard));
    for (const segment of parts.spans.children) segment.setAttribute("aria-pressed", filters.span === segment.dataset.span);
    parts.range.hidden = filters.span !== "range";
    for (const [field, at] of [[parts.since, filters.since], [parts.until, filters.until]]) {
      // A field that is being written in must not be changed under the writer.
      if (field !== document.activeElement) field.value = at === null ? "" : localTime(at);
    }
    parts.status.value = filters.status;
    parts.status.classList.toggle("is-set", filters.status !== "any");
    parts.area.setAttribute("aria-pressed", filters.area !== null);
    parts.more.classList.toggle("is-set", filters.hasMore);
    parts.hidden.hidden = hidden === 0;
    setText(parts.hiddenCount, t("hidden", hidden));
  }

  translate() {
    const parts = this.#parts;
    for (const chip of parts.chips.children) setText(chip.lastElementChild, nameOf(chip.dataset.hazard));
    for (const segment of parts.spans.children) setText(segment, t(segment.dataset.span));
    for (const option of parts.status.children) setText(option, t(option.value));
    setText(parts.wrong, t("rangeWrong"));
  }

  #toggle(hazard) {
    this.#store.filter(({ hazards }) => (hazards.has(hazard) ? hazards.delete(hazard) : hazards.add(hazard)));
  }

  #choose(span) {
    this.#parts.wrong.hidden = true;
    this.#store.filter((filters) => Object.assign(filters, span === "range" ? { span, since: filters.since ?? Date.now() - DAY_MS } : { span, since: null, until: null }));
  }

  #takeRange() {
    const [since, until] = [this.#parts.since, this.#parts.until].map((field) => (field.value === "" ? null : new Date(field.value).getTime()));
    const isWrong = since !== null && until !== null && since >= until;
    this.#parts.wrong.hidden = !isWrong;
    if (!isWrong) this.#store.filter((filters) => Object.assign(filters, { since, until }));
  }

  #fold(isFolded) {
    this.#parts.bar.classList.toggle("is-open", !isFolded);
    this.#parts.more.setAttribute("aria-expanded", !isFolded);
  }
}

/** A time as a field of type datetime-local wants it: of the reader's clock, to the minute. */
function localTime(at) {
  const shifted = new Date(at - new Date(at).getTimezoneOffset() * 60e3);
  return shifted.toISOString().slice(0, 16);
}
