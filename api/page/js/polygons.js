/** Draws masks and zones over a picture with the pointer: a click adds a corner, a click on the first one closes the shape. */

import { svg } from "./dom.js";

const NEAR_PX = 14;
const LEAST_CORNERS = 3;

export class Polygons extends EventTarget {
  /** `{kind: "mask" | "zone", polygon: [[x, y], …], name: {en, ko}}`, in fractions of the picture. */
  shapes = [];
  #layer = svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none" });
  #kind = null;
  #open = [];

  /** @param {HTMLElement} container takes the layer over its picture */
  constructor(container) {
    super();
    container.append(this.#layer);
    this.#layer.addEventListener("click", (event) => this.#click(event));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#takeBack());
  }

  get kind() {
    return this.#kind;
  }

  /** Begin a shape of this kind; null stops drawing. */
  draw(kind) {
    this.#kind = kind;
    this.#open = [];
    this.#changed();
  }

  set(shapes) {
    this.shapes = shapes;
    this.draw(null);
  }

  remove(shape) {
    this.shapes = this.shapes.filter((other) => other !== shape);
    this.#changed();
  }

  #click({ clientX, clientY }) {
    if (this.#kind === null) return;
    const box = this.#layer.getBoundingClientRect();
    const at = [(clientX - box.left) / box.width, (clientY - box.top) / box.height].map((n) => Number(Math.min(1, Math.max(0, n)).toFixed(4)));
    const [first] = this.#open;
    const isFirst = first !== undefined && Math.hypot((at[0] - first[0]) * box.width, (at[1] - first[1]) * box.height) < NEAR_PX;
    if (!isFirst) this.#open.push(at);
    else if (this.#open.length >= LEAST_CORNERS) {
      this.shapes = [...this.shapes, { kind: this.#kind, polygon: this.#open, name: { en: "", ko: "" } }];
      this.#kind = null;
      this.#open = [];
    }
    this.#changed();
  }

  #takeBack() {
    if (this.#kind === null) return;
    if (this.#open.pop() === undefined) this.#kind = null;
    this.#changed();
  }

  #changed() {
    const points = (polygon) => polygon.map((corner) => corner.join(",")).join(" ");
    this.#layer.classList.toggle("is-drawing", this.#kind !== null);
    this.#layer.replaceChildren(
      ...this.shapes.map(({ kind, polygon }) => svg("polygon", { class: `shape shape-${kind}`, points: points(polygon) })),
      svg("polyline", { class: `shape shape-${this.#kind} shape-open`, points: points(this.#open) }),
      // A line of no length with round ends is a dot of the same size in a picture of any shape.
      ...this.#open.map(([x, y]) => svg("path", { class: "shape corner", d: `M${x} ${y}h0` })),
    );
    this.dispatchEvent(new Event("change"));
  }
}
