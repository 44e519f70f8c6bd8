/** The public clips of an incident: mosaicked by the server, played as they are. */

import { el } from "./dom.js";
import { fetchJson } from "./http.js";
import { decimal, moment, t } from "./i18n.js";

/** A clip is made a minute or two after its incident. */
const LOOK_AGAIN_MS = 15_000;
const RECENT_MS = 600_000;

export class VideoBox {
  node = el("section", { class: "videos", hidden: true });
  #session;
  #incident = null;
  #clips = [];
  #shown = "";
  #askedAt = 0;
  #timer = 0;

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.#session = session;
  }

  /** Show the public clips of `incident`; of a false alarm there are none. */
  show(incident, language) {
    if (incident.id !== this.#incident?.id) {
      this.#clips = [];
      this.#askedAt = 0;
    }
    this.#incident = incident;
    if (incident.isFalse || incident.isHeld) this.#clips = [];
    else if (this.#session.videos && Date.now() - this.#askedAt > LOOK_AGAIN_MS) this.#look(language);
    this.#draw(language);
  }

  async #look(language) {
    const { id } = this.#incident;
    this.#askedAt = Date.now();
    try {
      const { clips } = await fetchJson(`api/incidents/${encodeURIComponent(id)}/videos`);
      if (id === this.#incident.id) this.#clips = clips;
    } catch {
      // The next look may find them: without a clip the incident is complete.
    }
    this.#draw(language);
    clearTimeout(this.#timer);
    const isRecent = Date.now() - this.#incident.lastSeen < RECENT_MS;
    if (isRecent) this.#timer = setTimeout(() => this.node.isConnected && this.show(this.#incident, language), LOOK_AGAIN_MS + 1);
  }

  #draw(language) {
    const look = JSON.stringify([language, this.#clips.map((clip) => clip.url)]);
    if (look === this.#shown) return;
    this.#shown = look;
    const videos = this.#clips.map((clip) => {
      const seconds = decimal((Date.parse(clip.end) - Date.parse(clip.start)) / 1000, 0);
      const label = t("clipPlay", moment(Date.parse(clip.start)), seconds);
      const video = el("video", { class: "clip-video", src: clip.url, controls: true, playsinline: true, preload: "metadata", "aria-label": label });
      video.muted = true;
      return el("figure", { class: "video-figure" }, video, el("figcaption", { class: "clip-note", text: label }));
    });
    const title = el("h3", { class: "section-title", text: t("videosTitle") });
    this.node.replaceChildren(...(videos.length > 0 ? [title, ...videos] : []));
    this.node.hidden = videos.length === 0;
  }
}
