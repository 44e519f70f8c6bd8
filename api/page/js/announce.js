/** Says news to a screen reader: one alert by its name, several at once as a count, never a flood. */

import { el } from "./dom.js";
import { nameOf, t } from "./i18n.js";
import { kind } from "./hazards.js";

const GATHER_MS = 400;
const PAUSE_MS = 4_000;

export class Announcer {
  #node;
  #news = [];
  #timer = 0;
  #spokeAt = 0;

  /** @param {HTMLElement} node a polite live region */
  constructor(node) {
    this.#node = node;
  }

  /** Say one sentence now. */
  say(text) {
    this.#node.replaceChildren(el("p", { text }));
  }

  /** Say that an incident is new, together with others of the same moment. */
  tell(incident) {
    this.#news.push(incident);
    if (this.#timer !== 0) return;
    this.#timer = setTimeout(() => this.#speak(), Math.max(GATHER_MS, this.#spokeAt + PAUSE_MS - Date.now()));
  }

  #speak() {
    const news = this.#news;
    this.#news = [];
    this.#timer = 0;
    this.#spokeAt = Date.now();
    const [first] = news;
    if (news.length === 1) this.say(t("announce", nameOf(kind(first.hazard)), first.place || t("unknownPlace")));
    else this.say(t("announceMany", news.length, countKinds(news)));
  }
}

/** "Fire 2, Gun 1" */
export function countKinds(incidents) {
  const counts = new Map();
  for (const { hazard } of incidents) counts.set(kind(hazard), (counts.get(kind(hazard)) ?? 0) + 1);
  return [...counts].map(([each, count]) => `${nameOf(each)} ${count}`).join(", ");
}
