/** Starts the page: ties the store to the map, the feed, the filters, the relay strip and the address bar. */

import { addressOf, readAddress } from "./address.js";
import { Announcer } from "./announce.js";
import { Archive } from "./archive.js";
import { Detail } from "./detail.js";
import { BASE } from "./dom.js";
import { DriveView } from "./drive.js";
import { Feed } from "./feed.js";
import { Fleet, positionOf } from "./fleet.js";
import { FilterBar } from "./filterbar.js";
import { currentLanguage, t } from "./i18n.js";
import { Insight } from "./insight.js";
import { Live } from "./live.js";
import { AlertMap } from "./map.js";
import { NodesView, stateOf } from "./nodes.js";
import { install } from "./push.js";
import { Relay } from "./relay.js";
import { ReviewBox } from "./review.js";
import { ClipBox } from "./clips.js";
import { Session } from "./session.js";
import { SessionsView } from "./sessions.js";
import { Shell } from "./shell.js";
import { SignIn } from "./signin.js";
import { Store } from "./store.js";
import { VideoBox } from "./videos.js";
import { WarnDialog } from "./warn.js";

const TICK_MS = 10_000;
const RENDER_MS = 16;
const ARCHIVE_MS = 400;
const byId = (id) => document.getElementById(id);
const phone = matchMedia("(max-width: 759px)");

const start = readAddress();
const wantsWarnings = new URLSearchParams(location.search).has("warn");
const store = new Store();
store.filters = start.filters;
const session = new Session();
const announcer = new Announcer(byId("announce"));
const map = new AlertMap(byId("map"), open);
const bar = new FilterBar(document, store, () => map.area);
const feed = new Feed(byId("cards"), byId("feed-count"), byId("feed-empty"), open);
const relay = new Relay(byId("chain"));
const fleet = new Fleet();
const nodes = new NodesView(byId("nodes"), byId("nodes-link"), fleet, loadFleet);
const sessions = new SessionsView(byId("sessions"), byId("sessions-link"));
const drive = new DriveView(byId("drive"), store);
const warn = new WarnDialog(byId("warn"), byId("warn-dialog"), { view: () => map.area, toast: (text) => shell.toast(text) });
const signIn = new SignIn(session, byId("account"), byId("signin"));
const reviewBox = new ReviewBox(session, (feature) => store.putIncident(feature, true), () => signIn.open());
const detail = new Detail(byId("detail"), byId("lightbox"), reviewBox, new ClipBox(session), new VideoBox(session), { close, go: open, copyLink });
const archive = new Archive(store);
const shell = new Shell(document, { translate, go: showView });
const live = new Live(store, fleet, setLink);
const insight = new Insight(store, (id) => live.find(id), (times) => {
  relay.showTimes(times);
  shell.showPinTime(times.get("pin"));
});

let view = start.view;
let selected = start.incident;
let wasLoaded = false;
let wasLocked = false;
let renderTimer = 0;
let archiveTimer = 0;
let heldAsked = null;

function render() {
  const incidents = store.visibleIncidents(selected);
  const all = store.cards;
  const cards = all.filter((card) => store.passes(card));
  map.show(incidents);
  feed.show(cards, {
    isLoaded: store.isLoaded,
    hidden: all.length - cards.length,
    cameras: [...store.cameras.values()].filter((camera) => camera.state !== "lost").length,
    selected,
    incidentOf: (id) => store.incidents.get(id),
  });
  bar.show(all.length - cards.length);
  byId("older").hidden = !archive.hasMore;
  renderDetail(incidents);
  drive.render();
}

/** Many events in one moment (a busy night, a resumed stream) are drawn together. */
function renderSoon() {
  if (renderTimer !== 0) return;
  renderTimer = setTimeout(() => {
    renderTimer = 0;
    render();
  }, RENDER_MS);
}

function renderDetail(incidents) {
  const incident = selected === null ? undefined : store.incidents.get(selected);
  if (incident === undefined) {
    if (detail.isOpen) detail.hide();
    return;
  }
  if (incident.isHeld && incident.caption === null && session.canReview && heldAsked !== incident.id) {
    // Only its own address has the words and the picture of a held alert, and only for operators.
    heldAsked = incident.id;
    look(incident.id, false);
  }
  const others = [...store.incidents.values()]
    .filter((other) => other.id !== incident.id && other.lat === incident.lat && other.lon === incident.lon)
    .sort((a, b) => b.lastSeen - a.lastSeen);
  const order = [...incidents].sort((a, b) => b.firstSeen - a.firstSeen || Number(b.id) - Number(a.id));
  const at = order.indexOf(incident);
  detail.show(incident, others, { newer: order[at - 1]?.id ?? null, older: order[at + 1]?.id ?? null }, currentLanguage());
}

/** Open the incident `id`: its panel, its pin, its card, its address. */
function open(id) {
  const isStep = selected !== null;
  selected = id;
  if (view === "sessions" || view === "nodes" || view === "drive" || (phone.matches && view !== "map")) setView("map");
  // Going from one to the next is one visit: "back" leads to where the reader was before.
  writeAddress(isStep ? "replaceState" : "pushState");
  follow();
}

/** Bring the selected incident into view, once it is known. */
function follow() {
  if (selected === null) return;
  const incident = store.incidents.get(selected);
  if (incident === undefined || incident.stages === null) look(selected, incident === undefined);
  if (incident === undefined) {
    render();
    return;
  }
  render();
  map.focus(incident, detail.covered);
  feed.reveal(selected);
  detail.focus();
}

/** Ask for all of one incident: it may be older than what is held, and lists leave its stages out. */
async function look(id, isUnknown) {
  const isFound = await live.find(id);
  if (selected !== id || !isUnknown) return;
  if (isFound) follow();
  else announcer.say(t("incidentGone"));
}

function close() {
  const last = selected;
  selected = null;
  writeAddress("pushState");
  map.unselect();
  render();
  if (last !== null && !map.focusPin(last)) feed.reveal(last, true);
}

function showView(next) {
  setView(next);
  if (phone.matches && selected !== null) {
    selected = null;
    map.unselect();
  }
  writeAddress("pushState");
  render();
}

function setView(next) {
  const isMissing = (next === "relay" && !phone.matches) || (next === "sessions" && !sessions.isThere) || (next === "nodes" && !nodes.isThere);
  view = isMissing ? "map" : next;
  shell.showView(view);
  sessions.show(view === "sessions");
  nodes.show(view === "nodes");
  drive.show(view === "drive");
}

function writeAddress(how) {
  const address = addressOf({ view, incident: selected, filters: store.filters });
  if (address !== `${location.pathname}${location.search}${location.hash}`) history[how](null, "", address);
}

/** The reader went back or forward, or wrote another address. */
function readAddressAgain() {
  const asked = readAddress();
  setView(asked.view);
  store.filters = asked.filters;
  selected = asked.incident;
  if (selected === null) map.unselect();
  followFilters();
  render();
  follow();
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(`${location.origin}${BASE}?incident=${encodeURIComponent(selected)}`);
    shell.toast(t("copied"));
  } catch {
    shell.toast(t("copyFailed"));
  }
}

/** The filters may reach beyond what is held: read that, once they have come to rest. */
function followFilters() {
  clearTimeout(archiveTimer);
  archiveTimer = setTimeout(() => archive.follow().then(renderSoon, () => shell.toast(t("olderFailed"))), ARCHIVE_MS);
}

function setLink(state) {
  shell.showLink(state);
  if (state === "locked") {
    wasLocked = true;
    // The session may have run out meanwhile: ask who the reader is now, or the gate would greet them by name.
    session.load().then(() => signIn.open(true));
  }
}

/** Everything that is written by script, in the current language. */
function translate() {
  bar.translate();
  signIn.relabel();
  sessions.relabel();
  nodes.relabel();
  warn.relabel();
  drive.relabel();
  map.relabel();
  renderCameras();
  relay.show(store.pipeline);
  insight.tell();
  render();
}

function renderCameras() {
  const cameras = [...store.cameras.values()];
  relay.showCameras(cameras);
  map.showCameras(cameras);
  renderNodes();
}

function renderNodes() {
  const placed = [...fleet.nodes.values()].map((node) => ({ id: node.id, state: node.state, word: stateOf(node), ...positionOf(node, store.cameras) }));
  map.showNodes(placed.filter(({ lat }) => Number.isFinite(lat)));
}

function loadFleet() {
  fleet.load(session.canReview);
}

/** Bring all alerts and cameras into view, unless the reader has chosen a view. */
function fitMap() {
  map.fit([...store.visibleIncidents(), ...store.cameras.values()].filter(({ lat }) => lat !== null));
}

function welcome({ incident }) {
  if (incident === undefined) return;
  announcer.tell(incident);
  insight.soon();
  shell.countUnseen();
  if (selected === null && wasLoaded) fitMap();
}

/** What is open told its stages before it was posted; now it can say how long that took. */
function askAgain({ post }) {
  if (post !== undefined && post.incident !== null && post.incident === selected) look(selected, false);
}

byId("older").addEventListener("click", async ({ currentTarget: button }) => {
  button.disabled = true;
  await archive.older().catch(() => shell.toast(t("olderFailed")));
  button.disabled = false;
  render();
});
addEventListener("popstate", readAddressAgain);
addEventListener("hashchange", readAddressAgain);
document.addEventListener("visibilitychange", () => document.hidden || render());
if (store.filters.area !== null) map.showArea(store.filters.area);
map.onMove(() => bar.followMap());

store.addEventListener("change", ({ detail: news }) => {
  if (!wasLoaded && store.isLoaded) {
    wasLoaded = true;
    fitMap();
    follow();
    followFilters();
    insight.tell();
    insight.soon();
  }
  renderSoon();
  welcome(news);
  askAgain(news);
});
store.addEventListener("filters", () => {
  writeAddress("replaceState");
  followFilters();
});
store.addEventListener("cameras", renderCameras);
fleet.addEventListener("change", renderNodes);
store.addEventListener("pipeline", () => relay.show(store.pipeline));
session.addEventListener("change", () => {
  loadFleet();
  renderSoon();
  warn.look();
  if (session.needsKey && session.role !== null && wasLocked) {
    wasLocked = false;
    live.connect();
  } else if (session.needsKey && session.role === null && wasLoaded) {
    // Signed out where reading needs a key: nothing of it may stay on the screen.
    location.reload();
  }
});

setView(view);
writeAddress("replaceState");
shell.translate();
relay.show(null);
setInterval(render, TICK_MS);
session.load().finally(() => {
  live.connect();
  warn.look();
});
install(open);
if (wantsWarnings) warn.open();
