/** The cameras of the relay strip: one tile each with its last mosaicked picture; those that are lost come first. */

import { el, safeUrl, setText } from "./dom.js";
import { icon } from "./icons.js";
import { fullMoment, t } from "./i18n.js";

const RANK = { lost: 0, unknown: 1, live: 2 };
const WORDS = { live: "cameraLive", lost: "cameraLost", unknown: "cameraUnknown" };

export class CameraTiles {
  node;
  #beacon;
  #name = el("span", { class: "node-name" });
  #always = el("span", { class: "node-state" });
  #summary = el("p", { class: "node-summary" });
  #list = el("ul", { class: "tiles", tabindex: "0" });
  #tiles = new Map();

  /** @param {SVGElement} beacon lit while a camera is live */
  constructor(beacon) {
    this.#beacon = beacon;
    const head = el("div", { class: "node-head" }, beacon, el("div", { class: "node-words" }, this.#name, this.#always), this.#summary);
    this.node = el("div", { class: "node node-cameras" }, head, this.#list);
  }

  show(cameras) {
    const sorted = [...cameras].sort((a, b) => RANK[a.state] - RANK[b.state] || (a.id < b.id ? -1 : 1));
    const live = cameras.filter((camera) => camera.state === "live").length;
    const lost = cameras.filter((camera) => camera.state === "lost").length;
    this.node.classList.toggle("is-lit", live > 0);
    this.#beacon.classList.toggle("is-lit", live > 0);
    setText(this.#name, t("motion"));
    setText(this.#always, t("alwaysOn"));
    setText(this.#summary, cameras.length === 0 ? t("noCameras") : [t("camerasLive", live), lost > 0 ? t("camerasLost", lost) : ""].filter(Boolean).join(" · "));
    this.#summary.classList.toggle("is-warning", lost > 0);
    this.#list.setAttribute("aria-label", t("cameras"));
    for (const [id, tile] of this.#tiles) {
      if (cameras.some((camera) => camera.id === id)) continue;
      tile.node.remove();
      this.#tiles.delete(id);
    }
    sorted.forEach((camera, index) => {
      if (!this.#tiles.has(camera.id)) this.#tiles.set(camera.id, makeTile());
      const tile = this.#tiles.get(camera.id);
      fillTile(tile, camera);
      const there = this.#list.children[index];
      if (there !== tile.node) this.#list.insertBefore(tile.node, there ?? null);
    });
  }
}

function makeTile() {
  const picture = el("div", { class: "tile-picture" });
  const name = el("span", { class: "camera-name" });
  const state = el("span", { class: "camera-state" });
  const words = el("div", { class: "tile-words" }, el("span", { class: "camera-sign", "aria-hidden": "true" }), name, state);
  return { node: el("li", {}, picture, words), picture, name, state, url: undefined };
}

function fillTile(tile, camera) {
  const word = t(WORDS[camera.state]);
  const place = camera.place || camera.id;
  tile.node.className = `camera is-${camera.state}`;
  tile.picture.title = camera.snapshotAt ? fullMoment(camera.snapshotAt) : "";
  setText(tile.name, place);
  setText(tile.state, camera.reason ? `${word}: ${camera.reason}` : word);
  const url = pictureOf(camera);
  if (tile.url === url) return;
  tile.url = url;
  tile.picture.replaceChildren();
  if (url === null) {
    tile.picture.append(icon("camera"));
    return;
  }
  const image = el("img", { src: url, alt: t("cameraPicture", place), loading: "lazy", decoding: "async", width: 96, height: 54 });
  image.addEventListener("error", () => image.replaceWith(icon("camera")), { once: true });
  tile.picture.append(image);
}

/** The address of the thumbnail; its time makes it new when the picture is. */
function pictureOf({ snapshot, snapshotAt }) {
  const url = safeUrl(snapshot);
  return url === null || url.includes("?") || !snapshotAt ? url : `${url}?v=${snapshotAt}`;
}
