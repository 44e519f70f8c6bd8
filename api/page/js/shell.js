/** The frame of the page: fixed words, language, theme, views, the sign of the live link, the folding of the relay strip, short notices. */

import { setText } from "./dom.js";
import { clock, currentLanguage, duration, inLanguage, LANGUAGES, nextLanguage, setLanguage, t } from "./i18n.js";
import { recall, remember } from "./memory.js";
import { MINUTES } from "./relay.js";

const THEMES = [null, "light", "dark"];
const TOAST_MS = 3_500;
const LOST_AFTER_MS = 8_000;

export class Shell {
  #page;
  #act;
  #link = "connecting";
  #lostAt = 0;
  #unseen = 0;
  #toastTimer = 0;

  /**
   * @param {Document} page
   * @param {{translate: () => void, go: (view: string) => void}} act
   */
  constructor(page, act) {
    this.#page = page;
    this.#act = act;
    this.#on("theme", () => this.#nextTheme());
    this.#on("language", () => {
      setLanguage(nextLanguage());
      this.translate();
    });
    this.#on("relay-fold", () => this.#foldRelay(!page.body.classList.contains("is-relay-folded"), true));
    for (const link of page.querySelectorAll("[data-view-link]")) {
      link.addEventListener("click", (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        act.go(link.dataset.viewLink);
      });
    }
    page.addEventListener("visibilitychange", () => {
      if (page.hidden) return;
      this.#unseen = 0;
      this.#setTitle();
    });
    // A low screen is for the map; whoever wants the strip there unfolds it.
    const folded = recall("relay") ?? (innerHeight < 760 ? "folded" : "open");
    this.#foldRelay(folded === "folded", false);
    setInterval(() => this.#sayLink(), 1_000);
  }

  /** Every fixed word of the page in the current language, then all that scripts wrote. */
  translate() {
    const page = this.#page;
    page.documentElement.lang = currentLanguage();
    for (const node of page.querySelectorAll("[data-text]")) setText(node, t(node.dataset.text));
    for (const node of page.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
    const language = this.#byId("language");
    const next = nextLanguage();
    language.hidden = LANGUAGES.length < 2;
    setText(this.#byId("language-text"), inLanguage(next, "languageName"));
    language.setAttribute("aria-label", inLanguage(next, "viewInThis"));
    language.setAttribute("lang", next);
    setText(this.#byId("legend-span"), t("lastMinutes", MINUTES));
    this.#sayLink();
    this.#sayTheme();
    this.#sayFold();
    this.#setTitle();
    this.#act.translate();
  }

  showView(view) {
    this.#page.body.dataset.view = view;
    for (const link of this.#page.querySelectorAll("nav [data-view-link]")) {
      if (link.dataset.viewLink === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  /** @param {"connecting"|"live"|"lost"|"locked"} state */
  showLink(state) {
    if (state !== "lost") this.#lostAt = 0;
    else if (this.#lostAt === 0) this.#lostAt = Date.now();
    this.#link = state;
    this.#sayLink();
  }

  /** The usual time from the camera to the map, in seconds. */
  showPinTime(seconds) {
    setText(this.#byId("pin-time"), seconds === undefined ? "" : t("pinMedian", duration(seconds)));
  }

  /** One more alert that came while nobody looked: it is counted in the title. */
  countUnseen() {
    if (!this.#page.hidden) return;
    this.#unseen += 1;
    this.#setTitle();
  }

  /** Say something short that goes away by itself. */
  toast(text) {
    const node = this.#byId("toast");
    setText(node, text);
    node.classList.add("is-shown");
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => {
      node.classList.remove("is-shown");
      setText(node, "");
    }, TOAST_MS);
  }

  #byId(id) {
    return this.#page.getElementById(id);
  }

  #on(id, press) {
    this.#byId(id).addEventListener("click", press);
  }

  #sayLink() {
    this.#byId("link").dataset.state = this.#link;
    const isLong = this.#lostAt > 0 && Date.now() - this.#lostAt > LOST_AFTER_MS;
    // What a map without a link shows may be long over: it must say since when.
    setText(this.#byId("link-text"), isLong ? t("lostSince", clock(this.#lostAt)) : t(this.#link));
  }

  #setTitle() {
    this.#page.title = this.#unseen > 0 ? `(${this.#unseen}) ${t("brand")}` : t("brand");
  }

  #sayTheme() {
    const theme = this.#page.documentElement.dataset.theme ?? "auto";
    const label = t("theme", t({ auto: "themeAuto", light: "themeLight", dark: "themeDark" }[theme]));
    this.#byId("theme").setAttribute("aria-label", label);
    this.#byId("theme").title = label;
  }

  #nextTheme() {
    const next = THEMES[(THEMES.indexOf(recall("theme")) + 1) % THEMES.length];
    if (next === null) delete this.#page.documentElement.dataset.theme;
    else this.#page.documentElement.dataset.theme = next;
    remember("theme", next);
    this.#sayTheme();
  }

  #foldRelay(isFolded, isChosen) {
    this.#page.body.classList.toggle("is-relay-folded", isFolded);
    if (isChosen) remember("relay", isFolded ? "folded" : "open");
    this.#sayFold();
  }

  #sayFold() {
    const isFolded = this.#page.body.classList.contains("is-relay-folded");
    const button = this.#byId("relay-fold");
    button.setAttribute("aria-expanded", !isFolded);
    button.setAttribute("aria-label", t(isFolded ? "showRelay" : "hideRelay"));
  }
}
