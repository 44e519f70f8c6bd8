/** The relay strip: cameras, then a beacon for every function, lit while it has replicas, with its last minutes. */

import { el, setText, svg } from "./dom.js";
import { nameOf, t } from "./i18n.js";

const ORDER = ["detect", "caption", "map", "post"];
export const MINUTES = 3;
const WIDTH = 200;
const HEIGHT = 40;

export class Relay {
  #chain;
  #cameras;
  #nodes = new Map();
  #nothing;

  constructor(chain) {
    this.#chain = chain;
    this.#cameras = makeCameras();
    this.#nothing = el("p", { class: "empty relay-empty" });
    chain.append(this.#cameras.node, this.#nothing);
  }

  showCameras(cameras) {
    const rank = { lost: 0, unknown: 1, live: 2 };
    const sorted = [...cameras].sort((a, b) => rank[a.state] - rank[b.state] || a.id.localeCompare(b.id));
    const live = cameras.filter((camera) => camera.state === "live").length;
    const lost = cameras.filter((camera) => camera.state === "lost").length;
    const { node, beacon, name, always, summary, list } = this.#cameras;
    node.classList.toggle("is-lit", live > 0);
    beacon.classList.toggle("is-lit", live > 0);
    setText(name, t("motion"));
    setText(always, t("alwaysOn"));
    setText(summary, cameras.length === 0 ? t("noCameras") : [t("camerasLive", live), lost > 0 ? t("camerasLost", lost) : ""].filter(Boolean).join(" · "));
    summary.classList.toggle("is-warning", lost > 0);
    list.setAttribute("aria-label", t("cameras"));
    list.replaceChildren(...sorted.map(cameraRow));
  }

  show(pipeline) {
    const functions = [...(pipeline?.functions ?? [])].filter((one) => typeof one?.name === "string");
    functions.sort((a, b) => place(a.name) - place(b.name) || a.name.localeCompare(b.name));
    const names = new Set(functions.map((one) => one.name));
    for (const [name, node] of this.#nodes) {
      if (names.has(name)) continue;
      node.node.remove();
      this.#nodes.delete(name);
    }
    functions.forEach((one, index) => {
      let node = this.#nodes.get(one.name);
      if (node === undefined) {
        node = makeNode();
        this.#nodes.set(one.name, node);
      }
      fillNode(node, one, Number(pipeline.at) || Date.now() / 1000);
      const there = this.#chain.children[index + 1];
      if (there !== node.node) this.#chain.insertBefore(node.node, there ?? null);
    });
    this.#nothing.hidden = functions.length > 0;
    setText(this.#nothing, t("noPipeline"));
  }
}

function makeCameras() {
  const sign = beacon();
  const name = el("span", { class: "node-name" });
  const always = el("span", { class: "node-state" });
  const summary = el("p", { class: "node-summary" });
  const list = el("ul", { class: "camera-list", tabindex: "0" });
  const head = el("div", { class: "node-head" }, sign, el("div", { class: "node-words" }, name, always));
  return { node: el("div", { class: "node node-cameras" }, head, summary, list), beacon: sign, name, always, summary, list };
}

function cameraRow(camera) {
  const word = t({ live: "cameraLive", lost: "cameraLost", unknown: "cameraUnknown" }[camera.state]);
  return el(
    "li",
    { class: `camera is-${camera.state}`, title: camera.id },
    el("span", { class: "camera-sign", "aria-hidden": "true" }),
    el("span", { class: "camera-name", text: camera.place || camera.id }),
    el("span", { class: "camera-state", text: camera.reason ? `${word}: ${camera.reason}` : word }),
  );
}

function makeNode() {
  const sign = beacon();
  const name = el("span", { class: "node-name" });
  const state = el("span", { class: "node-state" });
  const waiting = el("span", { class: "node-waiting" });
  const dead = el("span", { class: "node-dead" });
  const replicas = svg("path", { class: "spark-replicas" });
  const queue = svg("path", { class: "spark-waiting" });
  const spark = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    svg("path", { class: "spark-floor", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` }),
    replicas,
    queue,
  );
  const head = el("div", { class: "node-head" }, sign, el("div", { class: "node-words" }, name, state));
  const node = el("div", { class: "node" }, head, spark, el("p", { class: "node-numbers" }, waiting, dead));
  return { node, sign, name, state, waiting, dead, spark, replicas, queue };
}

function fillNode(node, { name, replicas = 0, max = 1, ready = 0, unacked = 0, dead = 0, history = [] }, now) {
  const waiting = ready + unacked;
  node.node.dataset.function = name;
  node.node.dataset.replicas = replicas;
  node.node.classList.toggle("is-lit", replicas > 0);
  node.sign.classList.toggle("is-lit", replicas > 0);
  setText(node.name, nameOf(name));
  setText(node.state, replicas > 0 ? t("replicas", replicas, max) : t(waiting > 0 ? "starting" : "asleep"));
  setText(node.waiting, t("waiting", waiting));
  node.waiting.classList.toggle("is-busy", waiting > 0);
  setText(node.dead, dead > 0 ? t("dead", dead) : "");
  node.spark.setAttribute("aria-label", `${t("functionState", nameOf(name), replicas, max, waiting)}, ${t("lastMinutes", MINUTES)}`);
  const points = history.filter((point) => Array.isArray(point) && point[0] >= now - MINUTES * 60 - 5);
  const last = points.at(-1);
  if (last === undefined || last[0] < now) points.push([now, replicas, waiting]);
  node.replicas.setAttribute("d", steps(points, 1, Math.max(1, max), now, true));
  node.queue.setAttribute("d", steps(points, 2, Math.max(4, ...points.map((point) => point[2])), now, false));
}

/** A step line through column `column` of the history, as path data; `isArea` closes it along the floor. */
function steps(points, column, top, now, isArea) {
  const x = (at) => Math.max(0, WIDTH * (1 - (now - at) / (MINUTES * 60))).toFixed(1);
  const y = (value) => (HEIGHT - 1 - (HEIGHT - 4) * Math.min(1, Math.max(0, value) / top)).toFixed(1);
  if (points.length === 0) return "";
  const line = points.map((point, index) => {
    const [at, value] = [point[0], Number(point[column]) || 0];
    return index === 0 ? `M${x(at)} ${y(value)}` : `H${x(at)}V${y(value)}`;
  });
  return isArea ? `${line.join("")}V${HEIGHT}H${x(points[0][0])}Z` : line.join("");
}

function beacon() {
  return svg(
    "svg",
    { class: "beacon", viewBox: "0 0 32 32", "aria-hidden": "true", focusable: "false" },
    svg("path", { class: "beacon-flame", d: "M16 2.5c.8 3.6 5 5.4 5 10 0 3-2.2 5-5 5s-5-2-5-5c0-2.1 1-3.5 2.2-4.6.2 1.3.8 2 1.6 2.4C14.3 7.6 15 4.6 16 2.5z" }),
    svg("path", { class: "beacon-tower", d: "M11 19.5h10l1.2 4.5H9.8z" }),
    svg("path", { class: "beacon-hill", d: "M2 29c3.8-1.5 5.4-4 8-4h12c2.6 0 4.2 2.5 8 4z" }),
  );
}

function place(name) {
  const index = ORDER.indexOf(name);
  return index < 0 ? ORDER.length : index;
}
