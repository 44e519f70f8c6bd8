/** The driving view: the nearest hazards ahead, few and large, spoken aloud; the screen stays on. */

import { el, setText } from "./dom.js";
import { bearing, distance, turn } from "./geo.js";
import { badge, kind } from "./hazards.js";
import { ago, currentLanguage, nameOf, t } from "./i18n.js";
import { length } from "./warn.js";

const SHOWN = 3;
const REACH_M = 20_000;
const FRESH_MS = 15 * 60_000;
/** Within so many degrees of the way one drives is "ahead". */
const AHEAD = 60;
/** An alert is spoken when it comes nearer than each of these, once. */
const SPOKEN_M = [5000, 1000, 300];
/** Slower than this (m/s) a receiver's heading is noise. */
const STANDING = 1.5;
const MOVED_M = 25;

export class DriveView {
  #section;
  #store;
  #watch = null;
  #here = null;
  #anchor = null;
  #heading = null;
  #lock = null;
  #isMute = false;
  #spoken = new Map();
  #problem = "";
  #list = el("ol", { class: "drive-list" });
  #status = el("p", { class: "drive-status", role: "status" });
  #start = el("button", { type: "button", class: "button is-main drive-start", onclick: () => this.#begin() });
  #mute = el("button", { type: "button", class: "button", onclick: () => this.#toggleMute() });
  #stop = el("button", { type: "button", class: "button", onclick: () => this.#end() });
  #title = el("h2", { id: "drive-title" });
  #note = el("p", { class: "drive-note" });

  /**
   * @param {HTMLElement} section
   * @param {import("./store.js").Store} store
   */
  constructor(section, store) {
    this.#section = section;
    this.#store = store;
    section.append(el("div", { class: "drive-head" }, this.#title, el("div", { class: "buttons" }, this.#mute, this.#stop)), this.#note, this.#start, this.#list, this.#status);
    // The browser takes the lock back when the page is hidden.
    document.addEventListener("visibilitychange", () => this.#watch !== null && !document.hidden && this.#keepAwake());
    this.relabel();
  }

  /** The view is shown or left; who leaves it is not watched any more. */
  show(isShown) {
    this.#section.hidden = !isShown;
    if (!isShown && this.#watch !== null) this.#end();
  }

  relabel() {
    setText(this.#title, t("driveTitle"));
    setText(this.#note, t("driveNote"));
    setText(this.#start, t("driveStart"));
    setText(this.#stop, t("driveStop"));
    setText(this.#mute, t(this.#isMute ? "driveUnmute" : "driveMute"));
    this.render();
  }

  /** Hazards within reach, nearest ahead first, then those beside and behind. */
  get near() {
    if (this.#here === null) return [];
    const now = Date.now();
    return [...this.#store.incidents.values()]
      .filter((incident) => !incident.isFalse && !incident.isHeld && now - incident.lastSeen < FRESH_MS)
      .map((incident) => {
        const metres = distance(this.#here, incident);
        const side = this.#heading === null ? null : turn(this.#heading, bearing(this.#here, incident));
        return { incident, metres, side, isAhead: side === null || Math.abs(side) <= AHEAD };
      })
      .filter(({ metres }) => metres <= REACH_M)
      .sort((a, b) => Number(b.isAhead) - Number(a.isAhead) || a.metres - b.metres);
  }

  render() {
    const isOn = this.#watch !== null;
    this.#start.hidden = this.#note.hidden = isOn;
    this.#mute.hidden = this.#stop.hidden = !isOn;
    this.#section.classList.toggle("is-driving", isOn);
    const near = isOn ? this.near : [];
    this.#list.replaceChildren(...near.slice(0, SHOWN).map((one) => card(one)));
    setText(this.#status, this.#statusOf(isOn, near.length));
    if (isOn) this.#speakAbout(near);
  }

  #statusOf(isOn, count) {
    if (this.#problem !== "") return t(this.#problem);
    if (!isOn) return "";
    if (this.#here === null) return t("driveLocating");
    return count === 0 ? t("driveClear", length(REACH_M)) : count > SHOWN ? t("driveMore", count - SHOWN) : "";
  }

  #begin() {
    this.#problem = "";
    if (!("geolocation" in navigator)) {
      this.#problem = "noPosition";
      this.render();
      return;
    }
    // Within the tap: browsers let a page speak, and keep the screen on, only then.
    this.#speak(t("driveStarted"));
    this.#keepAwake();
    const options = { enableHighAccuracy: true, maximumAge: 2_000, timeout: 30_000 };
    this.#watch = navigator.geolocation.watchPosition((position) => this.#move(position.coords), () => this.#lose(), options);
    this.render();
  }

  #end() {
    navigator.geolocation.clearWatch(this.#watch);
    this.#watch = this.#here = this.#anchor = this.#heading = null;
    this.#spoken.clear();
    this.#lock?.release();
    this.#lock = null;
    window.speechSynthesis?.cancel();
    this.render();
  }

  #move({ latitude, longitude, heading, speed }) {
    this.#problem = "";
    this.#here = { lat: latitude, lon: longitude };
    if (heading !== null && Number.isFinite(heading) && (speed ?? 0) >= STANDING) {
      this.#heading = heading;
      this.#anchor = this.#here;
    } else if (this.#anchor === null) {
      this.#anchor = this.#here;
    } else if (distance(this.#anchor, this.#here) >= MOVED_M) {
      // A receiver without a heading: the way from where one was.
      this.#heading = bearing(this.#anchor, this.#here);
      this.#anchor = this.#here;
    }
    this.render();
  }

  #lose() {
    this.#problem = "noPosition";
    this.render();
  }

  async #keepAwake() {
    try {
      this.#lock = (await navigator.wakeLock?.request("screen")) ?? null;
    } catch {
      // A battery that is low may forbid it; the voice still speaks while the screen is on.
      this.#lock = null;
    }
  }

  #toggleMute() {
    this.#isMute = !this.#isMute;
    if (this.#isMute) window.speechSynthesis?.cancel();
    this.relabel();
  }

  /** Say what has come nearer, the nearest first, each at each distance once. */
  #speakAbout(near) {
    for (const one of near.filter(({ isAhead }) => isAhead)) {
      const passed = SPOKEN_M.filter((metres) => one.metres <= metres).length;
      if (passed <= (this.#spoken.get(one.incident.id) ?? 0)) continue;
      this.#spoken.set(one.incident.id, passed);
      const key = one.side === null ? "driveSay" : "driveSayAhead";
      this.#speak(t(key, nameOf(kind(one.incident.hazard)), spokenLength(one.metres), one.incident.place));
    }
  }

  #speak(text) {
    if (this.#isMute || !("speechSynthesis" in window)) return;
    const said = new SpeechSynthesisUtterance(text);
    // Voices are named with their region: "ja" is ja-JP.
    const { language, region } = new Intl.Locale(currentLanguage()).maximize();
    said.lang = `${language}-${region}`;
    window.speechSynthesis.speak(said);
  }
}

function card({ incident, metres, side, isAhead }) {
  const direction = side === null ? "" : t(isAhead ? "ahead" : Math.abs(side) > 120 ? "behind" : side > 0 ? "right" : "left");
  const arrow = side === null ? null : el("span", { class: "drive-arrow", "aria-hidden": "true", text: "↑" });
  // By the style's own interface: the page's policy allows no style in the document.
  if (arrow !== null) arrow.style.transform = `rotate(${Math.round(side)}deg)`;
  return el(
    "li",
    { class: `drive-card hazard-${kind(incident.hazard)}${isAhead ? " is-ahead" : ""}` },
    badge(incident.hazard),
    el("div", { class: "drive-words" },
      el("p", { class: "drive-distance" }, el("span", { text: length(rounded(metres)) }), arrow, el("span", { class: "drive-direction", text: direction })),
      el("p", { class: "drive-what", text: nameOf(kind(incident.hazard)) }),
      el("p", { class: "drive-where", text: incident.place || t("unknownPlace") }),
      el("p", { class: "drive-when", text: ago(incident.lastSeen) })),
  );
}

function rounded(metres) {
  return metres < 1000 ? Math.max(50, Math.round(metres / 50) * 50) : metres < 10_000 ? Math.round(metres / 100) * 100 : Math.round(metres / 1000) * 1000;
}

function spokenLength(metres) {
  const short = rounded(metres);
  return short < 1000 ? t("spokenMetres", short) : t("spokenKilometres", Math.round(short / 100) / 10);
}
