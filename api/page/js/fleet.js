/** What the page knows of the fleet: nodes, models and deployments; its own store, as a site may have none. */

import { fetchJson } from "./http.js";

export class Fleet extends EventTarget {
  nodes = new Map();
  models = [];
  deployments = new Map();
  /** The audit log's newest entries; null where the reader is no operator. */
  audit = null;
  isLoaded = false;
  #isHere;

  constructor() {
    super();
    this.#isHere = (document.querySelector('meta[name="bongsu-fleet"]')?.content ?? "") !== "";
  }

  /** Whether this site tells of a fleet at all. */
  get isThere() {
    return this.#isHere;
  }

  /** Ask for everything anew; what cannot be had stays as it was. */
  async load(isOperator) {
    if (!this.isThere) return;
    const asked = ["api/nodes", "api/models", "api/deployments", ...(isOperator ? ["api/audit"] : [])];
    const answers = await Promise.allSettled(asked.map((url) => fetchJson(url)));
    const [nodes, models, deployments, audit] = answers.map(({ value }) => value);
    if (nodes) {
      this.nodes.clear();
      for (const feature of nodes.features ?? []) this.#putNode(feature);
    }
    if (models) this.models = models.models ?? [];
    if (deployments) this.deployments = new Map((deployments.deployments ?? []).map((one) => [one.id, one]));
    this.audit = isOperator ? (audit?.entries ?? null) : null;
    this.isLoaded = this.isLoaded || nodes !== undefined;
    this.#tell();
  }

  putNode(feature) {
    this.#putNode(feature);
    this.#tell();
  }

  putModels({ models }) {
    this.models = Array.isArray(models) ? models : [];
    this.#tell();
  }

  putDeployment(deployment) {
    if (typeof deployment.id !== "string") return;
    // What an operator was told of it and the stream leaves out, stays.
    this.deployments.set(deployment.id, { ...this.deployments.get(deployment.id), ...deployment });
    this.#tell();
  }

  /** Newest first. */
  get newest() {
    return [...this.deployments.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  #putNode(feature) {
    const id = String(feature?.id ?? "");
    const given = feature?.properties;
    if (!given) {
      this.nodes.delete(id);
      return;
    }
    const [lon, lat] = feature.geometry?.coordinates ?? [null, null];
    this.nodes.set(id, { ...given, id, lat, lon });
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Where a node is drawn: its place, or the middle of its cameras; null where neither is known. */
export function positionOf(node, cameras) {
  if (Number.isFinite(node.lat) && Number.isFinite(node.lon)) return { lat: node.lat, lon: node.lon, isAbout: false };
  const known = (node.cameras ?? []).map((id) => cameras.get(id)).filter((camera) => camera && camera.lat !== null);
  if (known.length === 0) return null;
  const middle = (key) => known.reduce((sum, camera) => sum + camera[key], 0) / known.length;
  return { lat: middle("lat"), lon: middle("lon"), isAbout: true };
}
