/** Starts the page: ties the store to the map, the feed, the relay strip and the address bar. */

import { Detail } from "./detail.js";
import { el, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { badge, HAZARDS, kind } from "./hazards.js";
import { currentLanguage, LANGUAGES, nameOf, setLanguage, t } from "./i18n.js";
import { Live } from "./live.js";
import { AlertMap } from "./map.js";
import { recall, remember } from "./memory.js";
import { MINUTES, Relay } from "./relay.js";
import { SPANS, Store } from "./store.js";

const TICK_MS = 10_000;
const RENDER_MS = 16;
const THEMES = [null, "light", "dark"];
const byId = (id) => document.getElementById(id);

const store = new Store();
const map = new AlertMap(byId("map"), (id) => (location.hash = `incident=${encodeURIComponent(id)}`));
const detail = new Detail(byId("detail"), () => close());
const feed = new Feed(byId("cards"), byId("feed-count"), byId("feed-empty"));
const relay = new Relay(byId("chain"));
const live = new Live(store, setLink);
const phone = matchMedia("(max-width: 759px)");

let selected = null;
let linkState = "connecting";
let unseen = 0;
let renderTimer = 0;

function render() {
  const incidents = store.visibleIncidents();
  const posts = store.visiblePosts();
  map.show(incidents);
  feed.show(posts, {
    isLoaded: store.isLoaded,
    total: store.posts.size,
    selected,
    canOpen: (id) => id !== null && store.incidents.has(id),
  });
  const hidden = store.posts.size - posts.length;
  byId("hidden-count").hidden = hidden === 0;
  setText(byId("hidden-count-text"), t("hidden", hidden));
  for (const chip of byId("hazards").children) chip.setAttribute("aria-pressed", store.shown.has(chip.dataset.hazard));
  for (const segment of byId("spans").children) segment.setAttribute("aria-pressed", store.span === segment.dataset.span);
  renderDetail();
}

/** Many events in one moment (a busy night, a resumed stream) are drawn together. */
function renderSoon() {
  if (renderTimer !== 0) return;
  renderTimer = setTimeout(() => {
    renderTimer = 0;
    render();
  }, RENDER_MS);
}

function renderDetail() {
  const incident = selected === null ? undefined : store.incidents.get(selected);
  if (incident === undefined) {
    if (detail.isOpen) detail.hide();
    return;
  }
  const others = [...store.incidents.values()]
    .filter((other) => other.id !== incident.id && other.lat === incident.lat && other.lon === incident.lon)
    .sort((a, b) => b.lastSeen - a.lastSeen);
  detail.show(incident, others, currentLanguage());
}

/** Follow the address bar: `#incident=12` opens that incident, anything else closes the panel. */
function follow() {
  const id = new URLSearchParams(location.hash.slice(1)).get("incident");
  if (id === null) {
    const wasOpen = selected;
    selected = null;
    map.unselect();
    render();
    if (wasOpen !== null) map.focusPin(wasOpen);
    return;
  }
  selected = id;
  const incident = store.incidents.get(id);
  if (incident === undefined) {
    if (store.isLoaded) look(id);
    render();
    return;
  }
  if (!store.visibleIncidents().includes(incident)) store.showAll();
  if (phone.matches && document.body.dataset.view !== "map") setView("map");
  render();
  map.focus(incident, detail.covered);
  feed.reveal(id);
  detail.focus();
}

/** An incident may be older than what the page has loaded. */
async function look(id) {
  const isFound = await live.find(id);
  if (selected !== id) return;
  if (isFound) follow();
  else announce(t("incidentGone"));
}

function close() {
  history.pushState(null, "", location.pathname);
  follow();
}

function setView(view) {
  document.body.dataset.view = view;
  for (const link of document.querySelectorAll("nav [data-view-link]")) {
    if (link.dataset.viewLink === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function viewOfAddress() {
  if (location.pathname.replace(/\/$/, "") === "/feed") return "feed";
  return location.hash === "#relay" && phone.matches ? "relay" : "map";
}

function announce(text) {
  byId("announce").replaceChildren(el("p", { text }));
}

function setLink(state) {
  linkState = state;
  byId("link").dataset.state = state;
  setText(byId("link-text"), t(state));
}

/** Every fixed word of the page, in the current language. */
function translate() {
  const other = LANGUAGES.find((language) => language !== currentLanguage());
  document.documentElement.lang = currentLanguage();
  for (const node of document.querySelectorAll("[data-text]")) setText(node, t(node.dataset.text));
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
  for (const chip of byId("hazards").children) setText(chip.lastElementChild, nameOf(chip.dataset.hazard));
  for (const segment of byId("spans").children) setText(segment, t(segment.dataset.span));
  setText(byId("language-text"), other === "ko" ? "한국어" : "English");
  byId("language").setAttribute("aria-label", t("toLanguage"));
  byId("language").setAttribute("lang", other);
  setText(byId("legend-span"), t("lastMinutes", MINUTES));
  setLink(linkState);
  sayTheme();
  setTitle();
}

function setTitle() {
  document.title = unseen > 0 ? `(${unseen}) ${t("brand")}` : t("brand");
}

function sayTheme() {
  const theme = document.documentElement.dataset.theme ?? "auto";
  const label = t("theme", t({ auto: "themeAuto", light: "themeLight", dark: "themeDark" }[theme]));
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(recall("theme")) + 1) % THEMES.length];
  if (next === null) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  remember("theme", next);
  sayTheme();
}

function renderCameras() {
  const cameras = [...store.cameras.values()];
  relay.showCameras(cameras);
  map.showCameras(cameras);
}

function fitMap(force) {
  const places = [...store.visibleIncidents(), ...store.cameras.values()].filter(({ lat }) => lat !== null);
  map.fit(places, force);
}

function welcome({ incident }) {
  if (incident === undefined) return;
  announce(t("announce", nameOf(kind(incident.hazard)), incident.place || t("unknownPlace")));
  if (document.hidden) {
    unseen += 1;
    setTitle();
  }
  if (selected === null) fitMap(false);
}

byId("hazards").append(
  ...HAZARDS.map((hazard) =>
    el("button", { type: "button", class: `chip hazard-${hazard}`, "data-hazard": hazard, onclick: () => store.toggleHazard(hazard) }, badge(hazard), el("span")),
  ),
);
byId("spans").append(
  ...Object.keys(SPANS).map((span) => el("button", { type: "button", class: "segment", "data-span": span, onclick: () => store.setSpan(span) })),
);
byId("show-all").addEventListener("click", () => store.showAll());
byId("theme").addEventListener("click", nextTheme);
byId("language").addEventListener("click", () => {
  setLanguage(LANGUAGES.find((language) => language !== currentLanguage()));
  translate();
  map.relabel();
  render();
  renderCameras();
  relay.show(store.pipeline);
});
for (const link of document.querySelectorAll("[data-view-link]")) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    setView(link.dataset.viewLink);
    follow();
  });
}
addEventListener("hashchange", follow);
addEventListener("popstate", () => setView(viewOfAddress()));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unseen = 0;
  setTitle();
  render();
});

let wasLoaded = false;
store.addEventListener("change", ({ detail: news }) => {
  if (!wasLoaded && store.isLoaded) {
    wasLoaded = true;
    fitMap(false);
    follow();
  }
  renderSoon();
  welcome(news);
});
store.addEventListener("cameras", renderCameras);
store.addEventListener("pipeline", () => relay.show(store.pipeline));

// The feed links to `?incident=12`, which a server can log and a reader can share; the page goes on with `#incident=12`.
const asked = new URLSearchParams(location.search).get("incident");
if (asked !== null) history.replaceState(null, "", `${location.pathname}#incident=${encodeURIComponent(asked)}`);
setView(viewOfAddress());
translate();
render();
renderCameras();
relay.show(null);
setInterval(render, TICK_MS);
live.connect();
