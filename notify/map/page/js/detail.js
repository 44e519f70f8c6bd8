/** The panel that tells everything about one incident. */

import { el } from "./dom.js";
import { picture } from "./feed.js";
import { badge, kind } from "./hazards.js";
import { ago, decimal, fullMoment, moment, nameOf, percent, pick, t } from "./i18n.js";

export class Detail {
  #panel;
  #close;
  #shown = "";

  /**
   * @param {HTMLElement} panel
   * @param {() => void} close called by the close button and by Escape
   */
  constructor(panel, close) {
    this.#panel = panel;
    this.#close = close;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.isOpen) close();
    });
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** How much of the map the panel hides, in pixels. */
  get covered() {
    const isSheet = matchMedia("(max-width: 759px)").matches;
    return isSheet ? { left: 0, bottom: this.#panel.offsetHeight } : { left: this.#panel.offsetWidth, bottom: 0 };
  }

  /** Show `incident`, and links to `others` at the same place. `language` makes a switch redraw it. */
  show(incident, others, language) {
    const signature = JSON.stringify([incident, others.map((other) => [other.id, other.lastSeen]), language]);
    if (signature === this.#shown) {
      this.#tick(incident);
      return;
    }
    const frame = this.#frame(incident, language);
    const body = this.#panel.querySelector(".detail-body");
    const hadFocus = body?.contains(document.activeElement) ?? false;
    this.#shown = signature;
    body?.remove();
    if (frame.parentNode === null) this.#panel.replaceChildren(frame);
    this.#panel.append(content(incident, others));
    this.#panel.hidden = false;
    if (hadFocus) this.#panel.focus({ preventScroll: true });
  }

  /** Picture and close button. They stay while the incident does: each sighting may bring a new picture, which must not blink. */
  #frame(incident, language) {
    const key = JSON.stringify([incident.id, language, incident.snapshot !== null]);
    const alt = t("pictureOf", nameOf(kind(incident.hazard)), incident.place || t("unknownPlace"));
    const old = this.#panel.querySelector(".detail-picture");
    if (old?.dataset.key !== key) {
      const close = el("button", { type: "button", class: "close", "aria-label": t("close"), title: t("close"), onclick: this.#close });
      const note = incident.snapshot ? el("p", { class: "picture-note", text: t("pictureNote") }) : null;
      const shown = picture(incident.snapshot, incident.hazard, alt);
      return el("div", { class: "detail-picture", "data-key": key, "data-url": incident.snapshot }, shown, note, close);
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

  focus() {
    this.#panel.focus({ preventScroll: true });
    this.#panel.scrollTop = 0;
  }

  hide() {
    this.#shown = "";
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
  }

  #tick(incident) {
    const when = this.#panel.querySelector(".detail-ago");
    if (when && incident.lastSeen) when.textContent = ago(incident.lastSeen);
  }
}

function content(incident, others) {
  const name = nameOf(kind(incident.hazard));
  const caption = pick(incident.caption);
  return el(
    "div",
    { class: `detail-body hazard-${kind(incident.hazard)}` },
    el(
      "p",
      { class: "card-head" },
      badge(incident.hazard),
      el("span", { class: "hazard-name", text: name }),
      el("span", { class: `status ${incident.isOpen ? "is-open" : "is-over"}`, text: t(incident.isOpen ? "open" : "closed") }),
      incident.lastSeen ? el("span", { class: "when detail-ago", text: ago(incident.lastSeen) }) : null,
    ),
    el("h2", { class: "detail-place", id: "detail-title", text: incident.place || t("unknownPlace") }),
    incident.region ? el("p", { class: "detail-region", text: incident.region }) : null,
    el("p", { class: `detail-caption${caption ? "" : " is-missing"}`, text: caption || t("loneCaption") }),
    el("dl", { class: "facts" }, ...facts(incident)),
    others.length > 0 ? el("h3", { class: "detail-also", text: t("alsoHere") }) : null,
    others.length > 0 ? el("ul", { class: "also" }, ...others.slice(0, 20).map(also)) : null,
  );
}

function facts(incident) {
  const rows = [
    [t("firstSeen"), incident.firstSeen ? time(incident.firstSeen) : null],
    [t("lastSeen"), incident.lastSeen ? time(incident.lastSeen) : null],
    [t("camera"), incident.camera || null],
    [t("confidence"), incident.confidence === null ? null : percent(incident.confidence)],
    [t("sightings"), incident.sightings === null ? null : String(incident.sightings)],
    [t("pinTime"), incident.pinS === null ? null : t("seconds", decimal(incident.pinS))],
  ];
  return rows
    .filter(([, value]) => value !== null)
    .map(([term, value]) => el("div", {}, el("dt", { text: term }), typeof value === "string" ? el("dd", { text: value }) : el("dd", {}, value)));
}

function also(incident) {
  const name = nameOf(kind(incident.hazard));
  return el(
    "li",
    {},
    el("a", { href: `#incident=${encodeURIComponent(incident.id)}` }, badge(incident.hazard), el("span", { text: name }), el("span", { class: "when", text: ago(incident.lastSeen) })),
  );
}

function time(at) {
  return el("time", { datetime: new Date(at).toISOString(), title: fullMoment(at), text: moment(at) });
}
