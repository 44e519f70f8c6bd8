/** The view of sessions: who has a model, where, for how long and how fast, and a try of one's own. */

import { el, setText } from "./dom.js";
import { ago, decimal, moment, t } from "./i18n.js";
import { readSettings, ReceiveServer } from "./receive.js";
import { Trial } from "./trial.js";

const REFRESH_MS = 2_000;
const COLUMNS = ["sessionsClient", "sessionsModel", "sessionsWhere", "sessionsState", "sessionsSince", "sessionsSpeed"];

export class SessionsView {
  #root;
  #server = null;
  #trial = null;
  #list = null;
  #failure = null;
  #timer = 0;
  #isShown = false;
  #parts = {};

  /** @param {HTMLElement} root the section @param {HTMLElement} link the view's tab, shown where there are sessions */
  constructor(root, link) {
    this.#root = root;
    const settings = readSettings();
    if (settings === null) return;
    link.hidden = false;
    this.#server = new ReceiveServer(settings.url);
    this.#trial = new Trial(this.#server, settings.clip);
    this.#build();
    document.addEventListener("visibilitychange", () => this.#isShown && this.#refresh());
  }

  /** Whether this site has sessions at all. */
  get isThere() {
    return this.#server !== null;
  }

  /** Show or leave the view; a try ends when it is left. */
  show(isShown) {
    this.#root.hidden = !isShown;
    if (isShown === this.#isShown) return;
    this.#isShown = isShown;
    if (isShown) this.#refresh();
    else this.#trial.stop();
  }

  /** Every word again, after the language changed. */
  relabel() {
    if (!this.isThere) return;
    const { title, note, form } = this.#parts;
    setText(title, t("sessionsTitle"));
    setText(note, t("sessionsNote"));
    form.replaceChildren(...this.#formParts());
    this.#trial.relabel();
    this.#render();
  }

  #build() {
    const parts = (this.#parts = {
      title: el("h2", { id: "sessions-title" }),
      note: el("p", { class: "sessions-note" }),
      capacity: el("p", { class: "sessions-capacity" }),
      problem: el("p", { class: "sessions-problem", role: "status", hidden: true }),
      form: el("form", { class: "sessions-key", hidden: true, onsubmit: (event) => this.#takeKey(event) }),
      table: el("div", { class: "sessions-list" }),
    });
    this.#root.append(parts.title, parts.note, parts.capacity, parts.problem, parts.form, parts.table, this.#trial.node);
    this.relabel();
  }

  #formParts() {
    const field = el("input", { type: "password", id: "sessions-key", name: "key", autocomplete: "off", required: true, spellcheck: "false" });
    return [el("label", { for: "sessions-key", text: t("sessionsKey") }), field, el("button", { type: "submit", class: "button", text: t("sessionsShow") })];
  }

  #takeKey(event) {
    event.preventDefault();
    this.#server.key = new FormData(event.target).get("key").trim();
    this.#refresh();
  }

  async #refresh() {
    clearTimeout(this.#timer);
    if (!this.#isShown || document.hidden) return;
    try {
      this.#list = await this.#server.list();
      this.#failure = null;
    } catch (error) {
      this.#list = null;
      this.#failure = error;
    }
    clearTimeout(this.#timer);
    // With a key that is missing or wrong, asking again by itself would only use up the tries that there are.
    if (!this.#needsKey) this.#timer = setTimeout(() => this.#refresh(), REFRESH_MS);
    this.#render();
  }

  get #needsKey() {
    return [401, 403].includes(this.#failure?.status);
  }

  #render() {
    const { capacity, problem, form, table } = this.#parts;
    form.hidden = !this.#needsKey;
    problem.hidden = this.#failure === null;
    if (this.#failure !== null) setText(problem, this.#why());
    capacity.hidden = this.#list === null;
    table.hidden = this.#list === null;
    if (this.#list === null) return;
    setText(capacity, describeCapacity(this.#list));
    const { sessions } = this.#list;
    table.replaceChildren(sessions.length === 0 ? el("p", { class: "sessions-empty", text: t("sessionsEmpty") }) : tableOf(sessions));
  }

  #why() {
    const { status, message } = this.#failure;
    if (status === 401) return t(this.#server.key === null ? "sessionsKeyNeeded" : "keyWrong");
    if (status === 403) return t("sessionsOperator");
    return status === undefined ? t("sessionsAway") : t("sessionsRefused", message);
  }
}

function describeCapacity({ capacity, idle, upstreams }) {
  const ready = idle.filter(({ state }) => state === "ready").length;
  const used = t("sessionsUsed", decimal(capacity.used_cores), decimal(capacity.cores), Math.round(capacity.used_memory_mb), Math.round(capacity.memory_mb));
  const servers = Object.entries(upstreams).map(([url, isHealthy]) => t(isHealthy ? "sessionsUpstream" : "sessionsUpstreamAway", url));
  return [capacity.node, used, t("sessionsIdle", ready), ...servers].join(" · ");
}

function tableOf(sessions) {
  const head = el("tr", {}, ...COLUMNS.map((key) => el("th", { scope: "col", text: t(key) })));
  const row = (session) => {
    const cells = [session.client, `${session.kind}, ${session.model.split(":")[0]}`, where(session), state(session), since(session), speed(session)];
    return el("tr", {}, ...cells.map((text, at) => el("td", { "data-column": t(COLUMNS[at]), text })));
  };
  return el("table", {}, el("caption", { class: "sr-only", text: t("sessionsTitle") }), el("thead", {}, head), el("tbody", {}, ...sessions.map(row)));
}

function where(session) {
  const place = t(`where_${session.where}`);
  const isOffloaded = session.where === "data-centre" && session.worker === "";
  return [place, session.node, isOffloaded ? t("sessionsOffloaded") : null].filter(Boolean).join(", ");
}

function state(session) {
  if (session.state === "waiting") return t("sessionsWaiting", session.place, Math.ceil(session.estimate_s));
  if (session.state === "starting") return t("starting");
  return t(session.is_connected ? "sessionsConnected" : "sessionsReady");
}

function since(session) {
  return t("sessionsUntil", ago(Date.parse(session.created_at)), moment(Date.parse(session.expires_at)));
}

function speed({ answered = 0, dropped = 0, p50_ms, p99_ms }) {
  if (!answered) return t("sessionsNoAnswer");
  const latency = t("sessionsLatency", answered, Math.round(p50_ms), Math.round(p99_ms));
  return dropped ? `${latency}, ${t("sessionsDropped", dropped)}` : latency;
}
