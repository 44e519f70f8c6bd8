/** The view of nodes: how each machine is and what it runs, deployments as they go, models, and who changed what. */

import { el, setText } from "./dom.js";
import { ago, duration, fullMoment, percent, t } from "./i18n.js";

const REFRESH_MS = 10_000;
const SHOWN_DEPLOYMENTS = 5;
const SHOWN_AUDIT = 30;
const RANK = { down: 0, warning: 1, unknown: 2, drained: 3, revoked: 3, ok: 4 };

export class NodesView {
  #root;
  #fleet;
  #load;
  #isShown = false;
  #parts = {};

  /**
   * @param {HTMLElement} root the section @param {HTMLElement} link the view's tab, shown where there is a fleet
   * @param {import("./fleet.js").Fleet} fleet @param {() => void} load asks for the numbers again
   */
  constructor(root, link, fleet, load) {
    this.#root = root;
    this.#fleet = fleet;
    this.#load = load;
    if (!fleet.isThere) return;
    link.hidden = false;
    const part = (name, tag = "div") => (this.#parts[name] = el(tag, { class: `nodes-${name}` }));
    const title = (this.#parts.title = el("h2", { id: "nodes-title" }));
    root.append(title, part("summary", "p"), part("running"), part("cards", "ul"), part("models"), part("past"), part("audit"));
    fleet.addEventListener("change", () => this.#isShown && this.#render());
    setInterval(() => this.#isShown && !document.hidden && this.#load(), REFRESH_MS);
  }

  get isThere() {
    return this.#fleet.isThere;
  }

  show(isShown) {
    this.#root.hidden = !isShown;
    if (isShown === this.#isShown) return;
    this.#isShown = isShown;
    if (!isShown) return;
    this.#render();
    this.#load();
  }

  /** Every word again, after the language changed. */
  relabel() {
    if (this.isThere) this.#render();
  }

  #render() {
    const { title, summary, running, cards, models, past, audit } = this.#parts;
    const nodes = [...this.#fleet.nodes.values()].sort((a, b) => RANK[a.state] - RANK[b.state] || (a.id < b.id ? -1 : 1));
    const deployments = this.#fleet.newest;
    setText(title, t("nodesTitle"));
    setText(summary, summaryOf(nodes, this.#fleet.isLoaded));
    fill(running, t("nodesRunning"), deployments.filter(({ state }) => state === "running").map(deploymentCard));
    cards.replaceChildren(...nodes.map(nodeCard));
    fill(models, t("nodesModels"), this.#fleet.models.map(modelCard));
    fill(past, t("nodesPast"), deployments.filter(({ state }) => state !== "running").slice(0, SHOWN_DEPLOYMENTS).map(deploymentCard));
    fill(audit, t("nodesAudit"), this.#fleet.audit === null ? [] : [auditTable(this.#fleet.audit.slice(0, SHOWN_AUDIT))]);
  }
}

export function stateOf(node) {
  return t(`node_${node.state}`);
}

function fill(part, title, children) {
  part.hidden = children.length === 0;
  part.replaceChildren(...(children.length === 0 ? [] : [el("h3", { text: title }), ...children]));
}

function summaryOf(nodes, isLoaded) {
  if (nodes.length === 0) return t(isLoaded ? "nodesNone" : "waitingFeed");
  const bad = nodes.filter(({ state }) => state === "down" || state === "warning").length;
  return [t("nodesCount", nodes.length), bad === 0 ? t("nodesAllWell") : t("nodesBad", bad)].join(" · ");
}

function nodeCard(node) {
  const where = [node.place, node.region].filter(Boolean).join(", ");
  const machine = [node.architecture, node.cpus ? t("nodeCpus", node.cpus) : "", node.gpu, node.system].filter(Boolean).join(" · ");
  const head = el(
    "div",
    { class: "node-card-head" },
    el("span", { class: "node-sign", "aria-hidden": "true" }),
    el("h3", { text: node.id }),
    el("span", { class: "node-card-state", text: stateOf(node) }),
  );
  const alerts = (node.alerts ?? []).filter((name) => name !== "NodeDown").map((name) => el("li", { text: t(`alert_${name}`) }));
  const bars = [meter("nodeCpu", node.cpu), meter("nodeMemory", node.memory), meter("nodeDisk", node.disk), meter("nodeGpu", node.gpu_used)];
  const facts = [
    node.temperature == null ? "" : t("nodeTemperature", Math.round(node.temperature)),
    node.latency_s == null ? "" : t("nodeLatency", duration(node.latency_s)),
    node.drift_s != null && Math.abs(node.drift_s) >= 1 ? t("nodeDrift", duration(Math.abs(node.drift_s))) : "",
    node.sampled_at ? t("nodeSampled", ago(Date.parse(node.sampled_at))) : t("nodeNotSampled"),
  ];
  return el(
    "li",
    { class: `node-card is-${node.state}`, "data-node": node.id },
    head,
    el("p", { class: "node-card-facts", text: [node.kind === "here" ? t("nodeHere") : "", where, machine].filter(Boolean).join(" · ") }),
    alerts.length > 0 ? el("ul", { class: "node-alerts" }, ...alerts) : null,
    bars.some(Boolean) ? el("dl", { class: "meters" }, ...bars) : null,
    el("p", { class: "node-card-facts", text: facts.filter(Boolean).join(" · ") }),
    named(t("nodesModels"), (node.models ?? []).map(({ name, version, at }) => el("li", { title: fullMoment(Date.parse(at)), text: `${name} ${version}` }))),
    named(t("cameras"), (node.cameras ?? []).map((id) => el("li", { text: id }))),
  );
}

function named(title, items) {
  return items.length === 0 ? null : el("div", { class: "node-list" }, el("h4", { text: title }), el("ul", {}, ...items));
}

/** One measure: its name, a bar and the number. The bar is an SVG, as the page's policy allows no style attributes. */
function meter(key, share) {
  if (typeof share !== "number") return null;
  const value = Math.max(0, Math.min(1, share));
  const bar = el("meter", { min: 0, max: 1, high: 0.9, optimum: 0, value, "aria-label": t(key) });
  return el("div", { class: "meter" }, el("dt", { text: t(key) }), el("dd", {}, bar, el("span", { text: percent(value) })));
}

function modelCard(model) {
  const rows = model.versions.map((version) => {
    const scores = Object.entries(version.metrics).map(([name, score]) => `${name} ${score}`);
    const cells = [version.version, version.nodes.join(", ") || t("modelNowhere"), megabytes(version.bytes), t(version.is_signed ? "modelSigned" : "modelUnsigned"), scores.join(", ")];
    return el("tr", {}, ...cells.map((text, at) => el("td", { "data-column": t(COLUMNS[at]), text })));
  });
  const head = el("tr", {}, ...COLUMNS.map((key) => el("th", { scope: "col", text: t(key) })));
  return el(
    "div",
    { class: "model-card" },
    el("h4", { text: model.name }),
    el("p", { class: "node-card-facts", text: [model.description, model.labels.join(", "), model.licence].filter(Boolean).join(" · ") }),
    el("div", { class: "model-table" }, el("table", {}, el("caption", { class: "sr-only", text: model.name }), el("thead", {}, head), el("tbody", {}, ...rows))),
  );
}

const COLUMNS = ["modelVersion", "modelNodes", "modelSize", "modelSignature", "modelScores"];

function deploymentCard(deployment) {
  const what = t(textOf(deployment), deployment.model, deployment.version);
  const at = Date.parse(deployment.begun_at);
  const said = [t(`deploy_${deployment.state}`), ago(at), deployment.by ? t("deployBy", deployment.by) : "", deployment.reason ?? ""];
  const rows = deployment.nodes.map((row) => {
    const share = row.total_bursts > 0 ? row.bursts / row.total_bursts : row.total_bytes > 0 ? row.done_bytes / row.total_bytes : 0;
    // Keys of texts have no spaces: "in use" is `progress_in_use`.
    const key = `progress_${row.state.replaceAll(" ", "_")}`;
    const known = t(key);
    const bytes = row.total_bytes > 0 && row.state === "pulling" ? t("deployBytes", megabytes(row.done_bytes), megabytes(row.total_bytes)) : "";
    const bursts = row.total_bursts > 0 ? t("deployBursts", row.bursts, row.total_bursts) : "";
    const words = [known === key ? row.state : known, bytes, bursts, row.error ?? ""].filter(Boolean).join(" · ");
    const bar = deployment.state === "running" ? el("progress", { max: 1, value: row.state === "in use" ? 1 : share, "aria-label": row.node }) : null;
    return el("li", { class: ["failed", "lost", "rolled back"].includes(row.state) ? "is-bad" : "" }, el("span", { class: "deploy-node", text: row.node }), bar, el("span", { text: words }));
  });
  return el(
    "div",
    { class: `deploy-card is-${deployment.state}`, "data-deployment": deployment.id },
    el("p", { class: "deploy-what", text: what }),
    el("p", { class: "node-card-facts", title: fullMoment(at), text: said.filter(Boolean).join(" · ") }),
    el("ul", { class: "deploy-nodes" }, ...rows),
  );
}

/** The key of the text about a deployment; one that goes back may not know yet to which version. */
function textOf({ action, version }) {
  if (action !== "rollback") return "deployTo";
  return version ? "deployBack" : "deployBefore";
}

function auditTable(entries) {
  const row = ({ at, by, action, subject, facts }) => {
    const more = ["model", "version", "ssh"].map((key) => facts?.[key]).filter(Boolean).join(" ");
    return el("li", { title: fullMoment(Date.parse(at)) }, el("span", { class: "audit-at", text: ago(Date.parse(at)) }), el("span", { text: `${by}: ${action} ${subject} ${more}`.trim() }));
  };
  return el("ul", { class: "audit-list" }, ...entries.map(row));
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
