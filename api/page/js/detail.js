/** The panel that tells everything about one incident: picture first, then what, where, when, how fast, and what was decided. */

import { el, safeUrl, setText } from "./dom.js";
import { picture } from "./feed.js";
import { badge, kind } from "./hazards.js";
import { icon } from "./icons.js";
import { ago, duration, fullMoment, moment, nameOf, percent, pick, t } from "./i18n.js";
import { stageBars } from "./stages.js";

const MOST_OTHERS = 20;

export class Detail {
  #panel;
  #lightbox;
  #review;
  #clips;
  #videos;
  #act;
  #shown = "";
  #near = { newer: null, older: null };

  /**
   * @param {HTMLElement} panel
   * @param {HTMLDialogElement} lightbox shows the picture as large as it can be
   * @param {import("./review.js").ReviewBox} review
   * @param {import("./clips.js").ClipBox} clips
   * @param {import("./videos.js").VideoBox} videos
   * @param {{close: () => void, go: (incident: string) => void, copyLink: () => void}} act
   */
  constructor(panel, lightbox, review, clips, videos, act) {
    this.#panel = panel;
    this.#lightbox = lightbox;
    this.#review = review;
    this.#clips = clips;
    this.#videos = videos;
    this.#act = act;
    lightbox.addEventListener("click", () => lightbox.close());
    document.addEventListener("keydown", (event) => this.#press(event));
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** How much of the map the panel hides, in pixels. */
  get covered() {
    const isSheet = matchMedia("(max-width: 759px)").matches;
    return isSheet ? { left: 0, bottom: this.#panel.offsetHeight } : { left: this.#panel.offsetWidth, bottom: 0 };
  }

  /**
   * @param {object} incident
   * @param {object[]} others incidents at the same place
   * @param {{newer: string|null, older: string|null}} near where the arrows lead
   * @param {string} language makes a switch redraw it
   */
  show(incident, others, near, language) {
    this.#near = near;
    const signature = JSON.stringify([incident, others.map((other) => [other.id, other.lastSeen, other.isFalse]), language]);
    if (signature !== this.#shown) {
      const frame = this.#frame(incident, language);
      const body = this.#panel.querySelector(".detail-body");
      const hadFocus = document.activeElement?.closest(".detail-body, .detail-more") != null;
      this.#shown = signature;
      const fresh = this.#content(incident, others);
      // What is being written about an incident outlives its next sighting: the review stays where it is.
      if (frame.parentNode === null) this.#panel.replaceChildren(frame, fresh.what, this.#videos.node, this.#review.node, this.#clips.node, fresh.more);
      else {
        body.replaceWith(fresh.what);
        this.#panel.querySelector(".detail-more").replaceWith(fresh.more);
      }
      this.#panel.className = `detail hazard-${kind(incident.hazard)}${incident.isFalse ? " is-false" : ""}`;
      this.#panel.hidden = false;
      if (hadFocus) this.focus(false);
    }
    this.#review.show(incident, language);
    this.#clips.show(incident, language);
    this.#videos.show(incident, language);
    setText(this.#panel.querySelector(".detail-ago"), incident.lastSeen ? ago(incident.lastSeen) : "");
    for (const name of ["newer", "older"]) this.#panel.querySelector(`.go-${name}`).disabled = near[name] === null;
  }

  focus(toTop = true) {
    this.#panel.focus({ preventScroll: true });
    if (toTop) this.#panel.scrollTop = 0;
  }

  hide() {
    this.#shown = "";
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    if (this.#lightbox.open) this.#lightbox.close();
  }

  #press(event) {
    if (!this.isOpen || document.querySelector("dialog[open]") !== null || event.defaultPrevented) return;
    if (event.key === "Escape") this.#act.close();
    const isHere = this.#panel.contains(document.activeElement) && !document.activeElement.matches("input, textarea, select");
    const step = { ArrowLeft: "newer", ArrowRight: "older" }[event.key];
    if (!isHere || step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#go(step);
  }

  #go(step) {
    if (this.#near[step] !== null) this.#act.go(this.#near[step]);
  }

  /** Picture and controls. They stay while the incident does: each sighting may bring a new picture, which must not blink. */
  #frame(incident, language) {
    const key = JSON.stringify([incident.id, language, incident.snapshot !== null]);
    const alt = t("pictureOf", nameOf(kind(incident.hazard)), incident.place || t("unknownPlace"));
    const old = this.#panel.querySelector(".detail-picture");
    if (old?.dataset.key !== key) {
      const shown = picture(incident.snapshot, incident.hazard, alt);
      const enlarge = shown instanceof HTMLImageElement ? el("button", { type: "button", class: "enlarge", "aria-label": t("enlarge"), onclick: () => this.#enlarge(alt) }) : null;
      const note = incident.snapshot ? el("p", { class: "picture-note", text: t("pictureNote") }) : null;
      return el("div", { class: "detail-picture", "data-key": key, "data-url": incident.snapshot }, shown, enlarge, note, this.#controls());
    }
    if (incident.snapshot !== null && old.dataset.url !== String(incident.snapshot)) {
      old.dataset.url = incident.snapshot;
      const next = picture(incident.snapshot, incident.hazard, alt);
      next.removeAttribute("loading");
      const swap = () => old.dataset.url === String(incident.snapshot) && old.firstElementChild.replaceWith(next);
      if (next instanceof HTMLImageElement) next.decode().then(swap, () => {});
      else swap();
    }
    return old;
  }

  #controls() {
    const round = (name, sign, label, press) => el("button", { type: "button", class: `round ${name}`, "aria-label": t(label), title: t(label), onclick: press }, icon(sign));
    return el(
      "div",
      { class: "detail-controls" },
      round("go-newer", "left", "previous", () => this.#go("newer")),
      round("go-older", "right", "next", () => this.#go("older")),
      round("close", "close", "close", () => this.#act.close()),
    );
  }

  #enlarge(alt) {
    const url = safeUrl(this.#panel.querySelector(".detail-picture").dataset.url);
    if (url === null) return;
    const close = el("button", { type: "button", class: "round close", "aria-label": t("close") }, icon("close"));
    this.#lightbox.replaceChildren(el("img", { src: url, alt }), close);
    this.#lightbox.setAttribute("aria-label", t("enlarge"));
    this.#lightbox.showModal();
  }

  #content(incident, others) {
    const caption = pick(incident.caption);
    const what = el(
      "div",
      { class: "detail-body" },
      el(
        "p",
        { class: "card-head" },
        badge(incident.hazard),
        el("span", { class: "hazard-name", text: nameOf(kind(incident.hazard)) }),
        ...tags(incident),
        el("span", { class: "when detail-ago" }),
      ),
      el("h2", { class: "detail-place", id: "detail-title", text: incident.place || t("unknownPlace") }),
      incident.region ? el("p", { class: "detail-region", text: incident.region }) : null,
      el("p", { class: `detail-caption${caption ? "" : " is-missing"}`, text: caption || t("loneCaption") }),
    );
    const more = el(
      "div",
      { class: "detail-more" },
      el("dl", { class: "facts" }, ...facts(incident)),
      stageBars(incident.stages),
      el(
        "p",
        { class: "detail-links" },
        el("button", { type: "button", class: "button is-quiet", onclick: () => this.#act.copyLink() }, icon("link"), el("span", { text: t("copyLink") })),
        el("a", { class: "button is-quiet", href: `cap/${encodeURIComponent(incident.id)}.xml` }, icon("feed"), el("span", { text: t("capAlert") })),
      ),
      others.length > 0 ? el("h3", { class: "section-title", text: t("alsoHere") }) : null,
      others.length > 0 ? el("ul", { class: "also" }, ...others.slice(0, MOST_OTHERS).map((other) => this.#also(other))) : null,
    );
    return { what, more };
  }

  #also(incident) {
    const go = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.#act.go(incident.id);
    };
    const name = nameOf(kind(incident.hazard));
    const word = incident.isFalse ? `${name} (${t("tagFalse")})` : name;
    const when = el("span", { class: "when", text: ago(incident.lastSeen) });
    return el("li", {}, el("a", { href: `?incident=${encodeURIComponent(incident.id)}`, onclick: go }, badge(incident.hazard), el("span", { text: word }), when));
  }
}

/** Small words about the state of an incident: ongoing or over, what was decided, and whether it came late. */
export function tags(incident) {
  const state = incident.isFalse ? ["is-false", "tagFalse"] : incident.isHeld ? ["is-false", "tagHeld"] : incident.isOpen ? ["is-open", "open"] : ["is-over", "closed"];
  const found = [state];
  if (incident.isAcknowledged) found.push(["is-acknowledged", "tagAcknowledged"]);
  if (incident.isLate) found.push(["is-late", "late"]);
  return found.map(([look, word]) => el("span", { class: `tag ${look}`, title: word === "late" ? t("lateWhy") : null, text: t(word) }));
}

function facts(incident) {
  const rows = [
    [t("firstSeen"), incident.firstSeen ? time(incident.firstSeen) : null],
    [t("lastSeen"), incident.lastSeen ? time(incident.lastSeen) : null],
    [t("camera"), incident.camera || null],
    [t("confidence"), incident.confidence === null ? null : percent(incident.confidence)],
    [t("sightings"), incident.sightings === null ? null : String(incident.sightings)],
    [t("pinTime"), incident.pinS === null ? null : duration(incident.pinS)],
  ];
  return rows
    .filter(([, value]) => value !== null)
    .map(([term, value]) => el("div", {}, el("dt", { text: term }), typeof value === "string" ? el("dd", { text: value }) : el("dd", {}, value)));
}

function time(at) {
  return el("time", { datetime: new Date(at).toISOString(), title: fullMoment(at), text: moment(at) });
}
