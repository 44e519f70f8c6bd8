/** The feed: a card for every alert, newest first; choosing one shows its incident on the map. */

import { el, safeUrl, setText } from "./dom.js";
import { badge, kind } from "./hazards.js";
import { ago, currentLanguage, fullMoment, nameOf, pick, t } from "./i18n.js";

const NEW_MS = 60_000;
const MOST_CARDS = 200;

export class Feed {
  #list;
  #count;
  #empty;
  #open;
  #cards = new Map();

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} count says how many there are
   * @param {HTMLElement} empty the parts of it named by `data-empty` say why there is none
   * @param {(incident: string) => void} open called when a card is chosen
   */
  constructor(list, count, empty, open) {
    this.#list = list;
    this.#count = count;
    this.#empty = empty;
    this.#open = open;
    list.addEventListener("keydown", (event) => this.#walk(event));
  }

  /**
   * @param {object[]} cards newest first
   * @param {{isLoaded: boolean, hidden: number, cameras: number, selected: string|null, incidentOf: (id: string|null) => object|undefined}} about
   */
  show(cards, { isLoaded, hidden, cameras, selected, incidentOf }) {
    const wanted = cards.slice(0, MOST_CARDS);
    const ids = new Set(wanted.map((post) => post.id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.node.remove();
      this.#cards.delete(id);
    }
    wanted.forEach((post, index) => {
      let card = this.#cards.get(post.id);
      if (card === undefined) {
        card = this.#makeCard(post);
        this.#cards.set(post.id, card);
      }
      fillCard(card, post, incidentOf(post.incident), post.incident !== null && post.incident === selected);
      // Cards that stand where they should are not moved: moving one would take the keyboard's focus away.
      const there = this.#list.children[index];
      if (there !== card.node) this.#list.insertBefore(card.node, there ?? null);
    });
    setText(this.#count, isLoaded ? t("count", cards.length) : "");
    this.#sayEmpty(cards.length === 0, isLoaded, hidden, cameras);
  }

  #sayEmpty(isEmpty, isLoaded, hidden, cameras) {
    this.#empty.hidden = !isEmpty;
    const part = (name) => this.#empty.querySelector(`[data-empty="${name}"]`);
    const [title, hint] = !isLoaded
      ? [t("waitingFeed"), ""]
      : hidden > 0
        ? [t("noMatch"), t("noMatchHint")]
        : [t("quiet"), cameras > 0 ? t("watching", cameras) : t("nobodyWatching")];
    setText(part("title"), title);
    setText(part("hint"), hint);
    part("reset").hidden = !isLoaded || hidden === 0;
  }

  /** Up and down lead from card to card. */
  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined || !event.target.matches(".card-link")) return;
    const links = [...this.#list.querySelectorAll(".card-link[href]")];
    const next = links[links.indexOf(event.target) + step];
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  }

  #makeCard(post) {
    const picture = el("div", { class: "card-picture" });
    const hazard = el("span", { class: "hazard-name" });
    const when = el("time", { class: "when" });
    const follow = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || !link.hasAttribute("href")) return;
      event.preventDefault();
      this.#open(node.dataset.incident);
    };
    const link = el("a", { class: "card-link", onclick: follow });
    const text = el("p", { class: "card-text" });
    const marks = el("span", { class: "card-marks" });
    const head = el("p", { class: "card-head" }, badge(post.hazard), hazard, marks, when);
    const body = el("div", { class: "card-body" }, head, el("h3", { class: "card-place" }, link), text);
    const node = el("li", { class: `card hazard-${kind(post.hazard)}` }, el("article", {}, picture, body));
    return { node, picture, hazard, when, link, text, marks, look: undefined };
  }

  /** Bring the card of an incident into view. */
  reveal(incident, takeFocus = false) {
    for (const { node } of this.#cards.values()) {
      if (node.dataset.incident === incident) {
        node.scrollIntoView({ block: "nearest", inline: "center" });
        if (takeFocus) node.querySelector(".card-link").focus({ preventScroll: true });
        return;
      }
    }
  }
}

function fillCard(card, post, incident, isSelected) {
  const name = nameOf(kind(post.hazard));
  const place = post.place || post.title || t("unknownPlace");
  setText(card.hazard, name);
  setText(card.link, place);
  setText(card.text, pick(post.caption) || post.text || t("loneCaption"));
  if (post.incident === null) card.link.removeAttribute("href");
  else card.link.setAttribute("href", `./?incident=${encodeURIComponent(post.incident)}`);
  setText(card.when, post.at ? ago(post.at) : "");
  if (post.at) {
    card.when.setAttribute("datetime", new Date(post.at).toISOString());
    card.when.title = fullMoment(post.at);
  }
  card.node.dataset.incident = post.incident ?? "";
  card.node.classList.toggle("is-new", Date.now() - post.at < NEW_MS);
  card.node.classList.toggle("is-selected", isSelected);
  card.node.classList.toggle("is-false", incident?.isFalse === true || incident?.isHeld === true);
  if (isSelected) card.link.setAttribute("aria-current", "true");
  else card.link.removeAttribute("aria-current");
  const word = incident === undefined ? "" : marks(incident);
  setText(card.marks, word);
  card.marks.hidden = word === "";
  const look = JSON.stringify([post.image, post.map, currentLanguage()]);
  if (card.look !== look) {
    card.look = look;
    card.picture.replaceChildren(picture(post.image, post.hazard, t("pictureOf", name, place)), ...inset(post, place));
  }
}

/** What a card says of its incident besides hazard and time. */
function marks({ isFalse, isHeld, isAcknowledged, isOpen, isLate }) {
  const words = [isFalse ? t("tagFalse") : isHeld ? t("tagHeld") : isOpen ? t("open") : "", isAcknowledged ? t("tagAcknowledged") : "", isLate ? t("late") : ""];
  return words.filter(Boolean).join(" · ");
}

/** The small map that went out with a post, in the corner of its picture. */
function inset(post, place) {
  const url = safeUrl(post.map);
  if (url === null) return [];
  const image = el("img", { class: "card-map", src: url, alt: t("locationOf", place), loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.remove(), { once: true });
  return [image];
}

/** The mosaicked picture, or a quiet sign that there is none. */
export function picture(url, hazard, alt) {
  const source = safeUrl(url);
  const nothing = () =>
    el("div", { class: `no-picture hazard-${kind(hazard)}` }, badge(hazard), el("span", { text: t("noPicture") }));
  if (source === null) return nothing();
  const image = el("img", { src: source, alt, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(nothing()), { once: true });
  return image;
}
