/** The feed: a card for every post, newest first; choosing one shows its incident on the map. */

import { el, safeUrl, setText } from "./dom.js";
import { badge, kind } from "./hazards.js";
import { ago, fullMoment, nameOf, pick, t } from "./i18n.js";

const NEW_MS = 60_000;
const MOST_CARDS = 200;

export class Feed {
  #list;
  #count;
  #empty;
  #cards = new Map();

  constructor(list, count, empty) {
    this.#list = list;
    this.#count = count;
    this.#empty = empty;
  }

  /**
   * @param {object[]} posts newest first
   * @param {{isLoaded: boolean, total: number, selected: string|null, canOpen: (id: string) => boolean}} about
   */
  show(posts, { isLoaded, total, selected, canOpen }) {
    const wanted = posts.slice(0, MOST_CARDS);
    const ids = new Set(wanted.map((post) => post.id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.node.remove();
      this.#cards.delete(id);
    }
    wanted.forEach((post, index) => {
      let card = this.#cards.get(post.id);
      if (card === undefined) {
        card = makeCard(post);
        this.#cards.set(post.id, card);
      }
      fillCard(card, post, post.incident !== null && post.incident === selected, canOpen(post.incident));
      // Cards that stand where they should are not moved: moving one would take the keyboard's focus away.
      const there = this.#list.children[index];
      if (there !== card.node) this.#list.insertBefore(card.node, there ?? null);
    });
    setText(this.#count, isLoaded ? t("count", posts.length) : "");
    this.#empty.hidden = posts.length > 0;
    setText(this.#empty, t(isLoaded ? (total > 0 ? "emptyFiltered" : "emptyFeed") : "waitingFeed"));
  }

  /** Bring the card of an incident into view. */
  reveal(incident) {
    for (const { node } of this.#cards.values()) {
      if (node.dataset.incident === incident) {
        node.scrollIntoView({ block: "nearest", inline: "center" });
        return;
      }
    }
  }
}

function makeCard(post) {
  const picture = el("div", { class: "card-picture" });
  const hazard = el("span", { class: "hazard-name" });
  const when = el("time", { class: "when" });
  const link = el("a", { class: "card-link" });
  const text = el("p", { class: "card-text" });
  const head = el("p", { class: "card-head" }, badge(post.hazard), hazard, when);
  const body = el("div", { class: "card-body" }, head, el("h2", { class: "card-place" }, link), text);
  const node = el("li", { class: `card hazard-${kind(post.hazard)}` }, el("article", {}, picture, body));
  return { node, picture, hazard, when, link, text, image: undefined };
}

function fillCard(card, post, isSelected, canOpen) {
  const name = nameOf(kind(post.hazard));
  const place = post.place || post.title || t("unknownPlace");
  setText(card.hazard, name);
  setText(card.link, place);
  setText(card.text, pick(post.caption) || post.text || t("loneCaption"));
  if (canOpen) card.link.setAttribute("href", `#incident=${encodeURIComponent(post.incident)}`);
  else card.link.removeAttribute("href");
  setText(card.when, post.at ? ago(post.at) : "");
  if (post.at) {
    card.when.setAttribute("datetime", new Date(post.at).toISOString());
    card.when.title = fullMoment(post.at);
  }
  card.node.dataset.incident = post.incident ?? "";
  card.node.classList.toggle("is-new", Date.now() - post.at < NEW_MS);
  card.node.classList.toggle("is-selected", isSelected);
  if (isSelected) card.link.setAttribute("aria-current", "true");
  else card.link.removeAttribute("aria-current");
  if (card.image !== post.image) {
    card.image = post.image;
    card.picture.replaceChildren(picture(post.image, post.hazard, t("pictureOf", name, place)));
  }
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
