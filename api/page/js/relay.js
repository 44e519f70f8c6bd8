/** The relay strip: cameras, then a beacon for every function, lit while it has replicas, with its last minutes. */

import { el, setText, svg } from "./dom.js";
import { CameraTiles } from "./cameras.js";
import { duration, nameOf, t } from "./i18n.js";

const ORDER = ["detect", "caption", "map", "post", "push"];
export const MINUTES = 3;
const WIDTH = 200;
const HEIGHT = 40;

export class Relay {
  #chain;
  #cameras;
  #nodes = new Map();
  #nothing;
  #times = new Map();

  constructor(chain) {
    this.#chain = chain;
    this.#cameras = new CameraTiles(beacon());
    this.#nothing = el("p", { class: "relay-empty" });
    chain.append(this.#cameras.node, this.#nothing);
  }

  showCameras(cameras) {
    this.#cameras.show(cameras);
  }

  /** What the stages usually take, in seconds by name. */
  showTimes(times) {
    this.#times = times;
    for (const [name, node] of this.#nodes) fillTime(node, times.get(name));
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
      fillTime(node, this.#times.get(one.name));
      const there = this.#chain.children[index + 1];
      if (there !== node.node) this.#chain.insertBefore(node.node, there ?? null);
    });
    this.#nothing.hidden = functions.length > 0;
    setText(this.#nothing, t("noPipeline"));
  }
}

function makeNode() {
  const sign = beacon();
  const name = el("span", { class: "node-name" });
  const state = el("span", { class: "node-state" });
  const waiting = el("span", { class: "node-waiting" });
  const dead = el("span", { class: "node-dead" });
  const took = el("span", { class: "node-took" });
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
  const node = el("div", { class: "node" }, head, spark, el("p", { class: "node-numbers" }, waiting, dead, took));
  return { node, sign, name, state, waiting, dead, took, spark, replicas, queue };
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

function fillTime(node, seconds) {
  setText(node.took, seconds === undefined ? "" : t("took", duration(seconds)));
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
