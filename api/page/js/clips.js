/** The sealed clips of an incident, which an operator opens with the private key and plays; the API cannot open them. */

import { el } from "./dom.js";
import { fetchBytes, fetchJson } from "./http.js";
import { decimal, moment, t } from "./i18n.js";
import { icon } from "./icons.js";
import { canUnseal, readKey, SealError, unseal } from "./sealing.js";

/** An edge node sends a clip some seconds after its last burst. */
const LOOK_AGAIN_MS = 10_000;
/** After this long without a sighting no more clips come. */
const RECENT_MS = 180_000;

export class ClipBox {
  node = el("section", { class: "clips", hidden: true });
  #session;
  #incident = null;
  #language = "";
  #clips = [];
  #key = null;
  #playing = null;
  #busy = null;
  #error = "";
  #shown = "";
  #askedAt = 0;
  #timer = 0;

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.#session = session;
  }

  /** Show the clips of `incident`; the list is fetched again while it goes on. */
  show(incident, language) {
    if (incident.id !== this.#incident?.id) {
      this.#clips = [];
      this.#askedAt = 0;
      this.#stop();
    }
    this.#incident = incident;
    this.#language = language;
    this.#draw();
    if (this.#session.clips && Date.now() - this.#askedAt > LOOK_AGAIN_MS) this.#look();
  }

  async #look() {
    const { id } = this.#incident;
    this.#askedAt = Date.now();
    try {
      const { clips } = await fetchJson(`api/incidents/${encodeURIComponent(id)}/clips`);
      if (id === this.#incident.id) this.#clips = clips;
    } catch (error) {
      if (id === this.#incident.id) this.#error = t("clipFailed", error.message);
    }
    this.#draw();
    clearTimeout(this.#timer);
    if (Date.now() - this.#incident.lastSeen < RECENT_MS) this.#timer = setTimeout(() => this.node.isConnected && this.#look(), LOOK_AGAIN_MS);
  }

  #draw() {
    const { clips } = this.#session;
    const look = JSON.stringify([clips, this.#incident.id, this.#language, this.#clips, this.#key !== null, this.#playing?.url, this.#busy, this.#error]);
    if (look === this.#shown) return;
    this.#shown = look;
    const parts = clips && (this.#clips.length > 0 || this.#error !== "") ? this.#parts() : [];
    const hadFocus = this.node.contains(document.activeElement) && document.activeElement.tagName === "BUTTON";
    this.node.replaceChildren(...parts);
    this.node.hidden = parts.length === 0;
    if (hadFocus) this.node.querySelector("button, video")?.focus({ preventScroll: true });
  }

  #parts() {
    const parts = [el("h3", { class: "section-title", text: t("clipsTitle") })];
    if (!canUnseal()) parts.push(el("p", { class: "clip-note", text: t("clipInsecure") }));
    else if (this.#key === null) parts.push(...this.#keyField());
    else parts.push(el("div", { class: "buttons" }, ...this.#clips.map((clip) => this.#button(clip))));
    if (this.#playing !== null) parts.push(this.#playing.video, this.#playing.save);
    if (this.#error !== "") parts.push(el("p", { class: "error", role: "alert", text: this.#error }));
    return parts;
  }

  #keyField() {
    const field = el("input", { type: "file", id: "clip-key", onchange: () => this.#take(field.files[0]) });
    const count = t("clipCount", this.#clips.length);
    return [el("label", { for: "clip-key", class: "clip-note", text: `${count} ${t("clipKey")}` }), field];
  }

  #button(clip) {
    const seconds = decimal((Date.parse(clip.end) - Date.parse(clip.start)) / 1000, 0);
    const word = t("clipPlay", moment(Date.parse(clip.start)), seconds);
    return el("button", { type: "button", class: "button", disabled: this.#busy !== null, onclick: () => this.#play(clip) }, icon("play"), el("span", { text: word }));
  }

  async #take(file) {
    this.#error = "";
    try {
      this.#key = await readKey(await file.text());
    } catch (error) {
      this.#error = error instanceof SealError ? t("clipWrongKey") : t("clipOldBrowser");
    }
    this.#draw();
  }

  async #play(clip) {
    const { id } = this.#incident;
    this.#stop();
    this.#busy = clip.url;
    this.#draw();
    try {
      const mp4 = await unseal(await fetchBytes(clip.url), this.#key);
      if (id === this.#incident.id) this.#playing = this.#player(clip, new Blob([mp4], { type: "video/mp4" }));
    } catch (error) {
      if (error instanceof SealError) this.#key = null;
      if (id === this.#incident.id) this.#error = error instanceof SealError ? t("clipOtherKey") : t("clipFailed", error.message);
    }
    this.#busy = null;
    this.#draw();
  }

  #player(clip, blob) {
    const url = URL.createObjectURL(blob);
    const fail = () => {
      this.#error = t("clipCodec");
      this.#draw();
    };
    const label = t("clipPlay", moment(Date.parse(clip.start)), decimal((Date.parse(clip.end) - Date.parse(clip.start)) / 1000, 0));
    const video = el("video", { class: "clip-video", src: url, controls: true, playsinline: true, "aria-label": label, onerror: fail });
    video.muted = true;
    video.autoplay = true;
    const name = `${this.#incident.camera}-${clip.start.replaceAll(":", "")}.mp4`;
    const save = el("a", { class: "button is-quiet", href: url, download: name, text: t("clipSave") });
    return { url, video, save };
  }

  #stop() {
    if (this.#playing !== null) URL.revokeObjectURL(this.#playing.url);
    this.#playing = null;
    this.#error = "";
  }
}
