/** The dialog "Warn me": which hazards, where and when; subscribes this browser and ends its subscription. */

import { AreaMap } from "./areamap.js";
import { el, setText } from "./dom.js";
import { badge, HAZARDS } from "./hazards.js";
import { currentLanguage, nameOf, t } from "./i18n.js";
import { currentWish, obstacle, offeredKey, subscribe, unsubscribe } from "./push.js";

const RADII = [500, 1000, 2000, 5000, 10_000, 20_000];
const WIDTHS = [100, 200, 500, 1000, 2000];

export class WarnDialog {
  #button;
  #dialog;
  #act;
  #map = null;
  #form = null;
  #wish = null;

  /**
   * @param {HTMLButtonElement} button hidden where the site sends no warnings
   * @param {HTMLDialogElement} dialog
   * @param {{view: () => [number, number, number, number], toast: (text: string) => void}} act
   */
  constructor(button, dialog, act) {
    this.#button = button;
    this.#dialog = dialog;
    this.#act = act;
    button.addEventListener("click", () => this.open());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => this.#leave());
  }

  /** Show the button where the site sends warnings, lit where this browser is subscribed. */
  async look() {
    try {
      this.#button.hidden = (await offeredKey()) === null;
      this.#wish = this.#button.hidden ? null : await currentWish();
    } catch {
      // Reading may take a key that nobody has given yet; it is asked again after that.
      this.#button.hidden = true;
    }
    this.relabel();
  }

  relabel() {
    const label = t(this.#wish === null ? "warnMe" : "warnOn");
    this.#button.setAttribute("aria-label", label);
    this.#button.title = label;
    this.#button.classList.toggle("is-on", this.#wish !== null);
  }

  async open() {
    this.#wish = await currentWish().catch(() => null);
    this.#leave();
    const why = obstacle();
    this.#dialog.replaceChildren(why === null ? this.#build() : this.#refuse(why));
    if (!this.#dialog.open) this.#dialog.showModal();
    if (why === null) this.#drawMap();
  }

  #leave() {
    this.#map?.remove();
    this.#map = null;
  }

  #refuse(why) {
    return el(
      "div",
      { class: "dialog-form" },
      el("h2", { id: "warn-title", text: t("warnMe") }),
      el("p", { class: "dialog-hint", text: t(`warn_${why}`) }),
      el("div", { class: "buttons" }, this.#closeButton()),
    );
  }

  #closeButton() {
    return el("button", { type: "button", class: "button is-quiet", onclick: () => this.#dialog.close(), text: t("close") });
  }

  #build() {
    const wish = this.#wish;
    const kind = wish?.area.kind ?? "circle";
    const check = (hazard) => el("input", { type: "checkbox", name: "hazard", value: hazard, checked: wish === null || wish.hazards.includes(hazard) });
    const radio = (name) => el("input", { type: "radio", name: "kind", value: name, checked: kind === name, onchange: () => this.#choose(name) });
    const quiet = wish?.quiet ?? null;
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    this.#form = el(
      "form",
      { class: "dialog-form warn-form", onsubmit: (event) => this.#submit(event) },
      el("h2", { id: "warn-title", text: t("warnMe") }),
      el("p", { class: "dialog-hint", text: t("warnHint") }),
      el("fieldset", { class: "warn-hazards" }, el("legend", { text: t("hazards") }),
        ...HAZARDS.map((hazard) => el("label", { class: "warn-choice" }, check(hazard), badge(hazard), el("span", { text: nameOf(hazard) })))),
      el("fieldset", { class: "warn-where" }, el("legend", { text: t("warnWhere") }),
        el("label", { class: "warn-choice" }, radio("circle"), el("span", { text: t("warnAround") })),
        el("label", { class: "warn-choice" }, radio("route"), el("span", { text: t("warnAlong") }))),
      el("p", { class: "dialog-hint warn-how" }),
      el("div", { class: "warn-map", role: "application", "aria-label": t("warnMap") }),
      el("div", { class: "warn-tools" },
        el("label", {}, el("span", { class: "warn-reach-name" }), el("select", { name: "metres", onchange: () => this.#resize() })),
        el("button", { type: "button", class: "button", onclick: () => this.#locate(), text: t("warnHere") }),
        el("button", { type: "button", class: "button is-quiet warn-undo", onclick: () => this.#map.undo(), text: t("warnUndo") })),
      el("div", { class: "warn-quiet" },
        el("label", { class: "warn-choice" }, el("input", { type: "checkbox", name: "quiet", checked: quiet !== null, onchange: () => this.#sayQuiet() }), el("span", { text: t("warnQuiet") })),
        el("span", { class: "warn-hours" },
          el("input", { type: "time", name: "from", "aria-label": t("rangeFrom"), value: quiet?.from ?? "22:00", required: true }), el("span", { text: "–", "aria-hidden": "true" }),
          el("input", { type: "time", name: "until", "aria-label": t("rangeTo"), value: quiet?.until ?? "07:00", required: true }), el("span", { text: zone }))),
      el("p", { class: "error", role: "alert" }),
      el("div", { class: "buttons" },
        el("button", { type: "submit", class: "button is-main", text: t(wish === null ? "warnStart" : "warnChange") }),
        wish === null ? null : el("button", { type: "button", class: "button", onclick: () => this.#stop(), text: t("warnStop") }),
        this.#closeButton()),
    );
    return this.#form;
  }

  #drawMap() {
    this.#map = new AreaMap(this.#form.querySelector(".warn-map"), this.#act.view(), () => this.#say());
    if (this.#wish !== null) this.#map.show(this.#wish.area);
    this.#fillReach(this.#wish?.area.radius_m ?? this.#wish?.area.width_m);
    this.#resize();
    this.#sayQuiet();
    this.#say();
  }

  get #kind() {
    return new FormData(this.#form).get("kind");
  }

  #choose(kind) {
    this.#map.choose(kind);
    this.#fillReach();
    this.#resize();
    this.#say();
  }

  #fillReach(chosen = this.#kind === "circle" ? 2000 : 500) {
    const choices = this.#kind === "circle" ? RADII : WIDTHS;
    const option = (metres) => el("option", { value: metres, selected: metres === chosen, text: length(metres) });
    this.#form.elements.metres.replaceChildren(...[...new Set([...choices, chosen])].sort((a, b) => a - b).map(option));
    setText(this.#form.querySelector(".warn-reach-name"), t(this.#kind === "circle" ? "warnRadius" : "warnWidth"));
  }

  #resize() {
    this.#map.metres = Number(this.#form.elements.metres.value);
  }

  #say() {
    setText(this.#form.querySelector(".warn-how"), t(this.#kind === "circle" ? "warnTapPlace" : "warnTapRoute", this.#map.count));
    this.#form.querySelector(".warn-undo").hidden = this.#kind === "circle" || this.#map.count === 0;
    this.#fail("");
  }

  #sayQuiet() {
    this.#form.querySelector(".warn-hours").hidden = !this.#form.elements.quiet.checked;
  }

  #fail(text) {
    setText(this.#form.querySelector(".error"), text);
  }

  #locate() {
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        this.#map?.add(coords.latitude, coords.longitude);
        this.#map?.fit();
      },
      () => this.#fail(t("noPosition")),
      { enableHighAccuracy: true, timeout: 15_000, maximumAge: 60_000 },
    );
  }

  async #submit(event) {
    event.preventDefault();
    const form = new FormData(this.#form);
    const hazards = form.getAll("hazard");
    const { area } = this.#map;
    if (hazards.length === 0 || area === null) {
      this.#fail(t(hazards.length === 0 ? "warnNoHazard" : "warnNoArea"));
      return;
    }
    const quiet = form.get("quiet") === null ? null : { from: form.get("from"), until: form.get("until"), timezone: Intl.DateTimeFormat().resolvedOptions().timeZone };
    await this.#do(event.submitter, async () => {
      const wish = { hazards, area, language: currentLanguage(), quiet };
      await subscribe(wish);
      this.#wish = wish;
      this.#act.toast(t("warnStarted"));
    });
  }

  #stop() {
    return this.#do(this.#form.querySelector("[type=submit]"), async () => {
      await unsubscribe();
      this.#wish = null;
      this.#act.toast(t("warnStopped"));
    });
  }

  async #do(button, work) {
    this.#fail("");
    button.disabled = true;
    try {
      await work();
      this.#dialog.close();
      this.relabel();
    } catch (error) {
      this.#fail(error.message === "denied" ? t("warnDenied") : t("warnFailed", error.message));
    }
    button.disabled = false;
  }
}

/** "500 m" or "2 km". */
export function length(metres) {
  return metres < 1000 ? t("metres", Math.round(metres)) : t("kilometres", metres < 10_000 && metres % 1000 !== 0 ? Math.round(metres / 100) / 10 : Math.round(metres / 1000));
}
