/** The page for cameras: an operator adds one, sees its picture, draws masks and zones, tests the gate and saves it. */

import { ATTRIBUTION, drawBase, KOREA } from "./basemap.js";
import { el, setText } from "./dom.js";
import { fetchJson } from "./http.js";
import { currentLanguage, inLanguage, nextLanguage, setLanguage, t } from "./i18n.js";
import { Polygons } from "./polygons.js";
import { Session } from "./session.js";
import { SignIn } from "./signin.js";

const FOCUS_ZOOM = 12;
const byId = (id) => document.getElementById(id);
const form = byId("form");
const field = (name) => form.elements.namedItem(name);
const screen = el("canvas", { width: 1280, height: 720, role: "img" });
byId("picture").append(screen);
const shapes = new Polygons(byId("picture"));
const session = new Session();
const signIn = new SignIn(session, byId("account"), byId("signin"));
const map = L.map(byId("map"), { minZoom: 2, maxZoom: 17, zoomSnap: 0.5 }).fitBounds(KOREA);
const marker = L.circleMarker([0, 0], { radius: 8, color: "#c2410c", fillColor: "#e8622c", fillOpacity: 0.9 });

let cameras = [];
let file = null;
let current = null;
let facts = null;

/** Show the form to an operator, once the cameras are known; anybody else is asked for a key. */
async function admit() {
  const isOperator = session.canReview;
  if (isOperator && !form.hidden) return; // what is being written stays
  if (isOperator) await load();
  else signIn.open();
  form.hidden = byId("cameras").hidden = !isOperator;
  byId("gate").hidden = isOperator;
  map.invalidateSize({ pan: false });
  if (current === null) map.fitBounds(KOREA, { animate: false });
}

async function load() {
  try {
    ({ file, cameras } = await ask("cameras"));
    choose(cameras.find(({ id }) => id === current?.id) ?? null);
  } catch (error) {
    translate();
    setText(byId("error"), error.message);
  }
}

/** Show a camera of the file, or an empty form. */
function choose(camera) {
  current = camera;
  facts = null;
  form.reset();
  byId("part-picture").hidden = true;
  for (const name of ["strip", "outcomes", "error"]) byId(name).replaceChildren();
  field("camera").value = camera?.id ?? "";
  field("camera").readOnly = camera !== null;
  field("sensitivity").value = camera?.sensitivity ?? 0.5;
  field("place").value = camera?.place.name ?? "";
  stand(camera?.place ?? null, true);
  const masks = (camera?.masks ?? []).map((polygon) => ({ kind: "mask", polygon }));
  const zones = (camera?.zones ?? []).map(({ name, polygon }) => ({ kind: "zone", polygon, name: { ...name } }));
  shapes.set([...masks, ...zones]);
  translate();
}

function stand(place, isMoved = false) {
  marker.remove();
  field("lat").value = place?.lat ?? "";
  field("lon").value = place?.lon ?? "";
  if (place === null) return;
  marker.setLatLng([place.lat, place.lon]).addTo(map);
  if (isMoved) map.setView([place.lat, place.lon], FOCUS_ZOOM, { animate: false });
}

/** What the form holds, as the API takes it; fields that are empty are left out. */
function entered() {
  const text = (name) => field(name).value.trim();
  const [lat, lon] = [Number(text("lat")), Number(text("lon"))];
  const hasPlace = text("lat") !== "" && text("lon") !== "";
  const region = current?.place.region;
  return {
    camera: text("camera"),
    ...(text("url") && { url: text("url"), user: text("user"), password: field("password").value }),
    ...(hasPlace && { place: { lat, lon, name: text("place"), ...(region && { region }) } }),
    masks: shapes.shapes.filter(({ kind }) => kind === "mask").map(({ polygon }) => polygon),
    zones: shapes.shapes.filter(({ kind }) => kind === "zone").map(({ name, polygon }) => ({ name: { en: name.en || name.ko, ko: name.ko || name.en }, polygon })),
    sensitivity: Number(field("sensitivity").value),
  };
}

/** Ask the API while the controls rest; null where it refused, which is said in the page. */
async function attempt(path, note, body) {
  setText(byId("error"), "");
  setText(byId("note"), t(note));
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  try {
    return await ask(path, body);
  } catch (error) {
    setText(byId("error"), error.message);
    if (error.status === 401) session.load();
    return null;
  } finally {
    setText(byId("note"), "");
    for (const button of form.querySelectorAll("button")) button.disabled = false;
  }
}

function ask(path, body) {
  const patience_ms = 100_000; // a camera that is off keeps one waiting
  return fetchJson(`api/setup/${path}`, body === undefined ? { patience_ms } : { method: "POST", body, patience_ms });
}

async function look() {
  const found = await attempt("look", "setupLooking", entered());
  if (found === null) return;
  facts = found;
  byId("part-picture").hidden = false;
  await paint(screen, found.pictures[0]);
  translate();
}

async function tune() {
  const found = await attempt("tune", "setupTuning", { ...entered(), seconds: 20 });
  if (found === null) return;
  const counts = Object.entries(found.outcomes).map(([outcome, n]) => `${n} × ${nameOutcome(outcome)}`);
  setText(byId("outcomes"), counts.length > 0 ? t("setupLooks", found.looks, counts.join(", ")) : t("setupLooksAlike", found.looks));
  const tiles = found.moments.map(async ({ at_s, outcome, box }, i) => {
    const picture = el("canvas", { width: 480, height: 270 });
    await paint(picture, found.pictures[i]);
    frame(picture, box, outcome === "moving" || outcome === "standing");
    return el("li", {}, el("figure", {}, picture, el("figcaption", { text: `${at_s.toFixed(1)} s · ${nameOutcome(outcome)}` })));
  });
  byId("strip").replaceChildren(...(await Promise.all(tiles)));
}

/** A gate's outcome, such as "too small", in the reader's language. */
function nameOutcome(outcome) {
  return t(`outcome_${outcome.replaceAll(" ", "_")}`);
}

async function save(event) {
  event.preventDefault();
  if (file === null) {
    showYaml();
    return;
  }
  const { camera } = entered();
  if ((await attempt("save", "setupSaving", entered())) === null) return;
  current = { id: camera };
  await load();
  setText(byId("note"), t("setupSaved", camera, file));
  byId("note").scrollIntoView({ block: "nearest" });
}

/** The entry to paste into a ConfigMap: JSON in the values is YAML too. Passwords are variables of a Secret. */
function showYaml() {
  const { camera, url = "", place, masks, zones, sensitivity } = entered();
  const login = field("user").value === "" ? "" : "${CAMERA_USER}:${CAMERA_PASSWORD}@";
  const bare = url.replace(/^(\w+:\/\/)(?:[^/?#]*@)?/, `$1${login}`);
  const fields = { id: camera, url: bare, place, sensitivity, ...(masks.length > 0 && { masks }), ...(zones.length > 0 && { zones }) };
  const lines = Object.entries(fields).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  byId("yaml").hidden = false;
  setText(byId("yaml"), `  - ${lines.join("\n    ")}\n`);
}

/** A JPEG in base64 on a canvas; it needs no address, which the page's policy would not allow. */
async function paint(canvas, picture) {
  if (picture === null) return;
  const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d").drawImage(image, 0, 0);
}

function frame(canvas, [x1, y1, x2, y2], isReported) {
  const pen = canvas.getContext("2d");
  pen.lineWidth = 4;
  pen.strokeStyle = isReported ? "#ff9a62" : "#c9d1d6";
  pen.setLineDash(isReported ? [] : [8, 6]);
  pen.strokeRect(x1 * canvas.width, y1 * canvas.height, (x2 - x1) * canvas.width, (y2 - y1) * canvas.height);
}

function listShapes() {
  const rows = shapes.shapes.map((shape) => {
    const isZone = shape.kind === "zone";
    const name = (language, label) => {
      const input = el("input", { "aria-label": t(label), placeholder: t(label), maxlength: 60, oninput: () => (shape.name[language] = input.value.trim()) });
      input.value = shape.name[language];
      return input;
    };
    return el(
      "li",
      {},
      el("span", { class: "shape-kind", text: t(isZone ? "setupZone" : "setupMask") }),
      isZone ? name("en", "setupZoneEn") : null,
      isZone ? name("ko", "setupZoneKo") : null,
      el("button", { type: "button", class: "button is-quiet", text: t("setupRemove"), onclick: () => shapes.remove(shape) }),
    );
  });
  byId("shapes").replaceChildren(...rows);
  for (const kind of ["mask", "zone"]) byId(`draw-${kind}`).setAttribute("aria-pressed", String(shapes.kind === kind));
  setText(byId("draw-hint"), shapes.kind === null ? "" : t("setupDrawing"));
}

function describe({ codec, width, height, fps }) {
  const size = `${width}x${height}`;
  return fps ? t("setupFactsWithRate", codec, size, fps) : t("setupFacts", codec, size);
}

function translate() {
  const language = currentLanguage();
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) setText(node, t(node.dataset.text));
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
  document.title = `${t("brand")}: ${t("setupTitle")}`;
  setText(byId("language-text"), inLanguage(nextLanguage(), "languageName"));
  setText(byId("sensitivity-shown"), field("sensitivity").value);
  field("url").placeholder = current === null ? "rtsp://192.0.2.10:554/stream1" : t("setupKept");
  screen.setAttribute("aria-label", t("setupPicture"));
  if (facts !== null) setText(byId("facts"), facts.pictures[0] === null ? t("setupWithheld") : describe(facts));
  for (const name of ["look", "tune"]) byId(name).hidden = file === null;
  if (session.canReview) setText(byId("note"), file === null ? t("setupCluster") : t("setupFile", file));
  const entry = (camera, text) => el("button", { type: "button", class: "button", "aria-current": camera?.id === current?.id ? "true" : null, text, onclick: () => choose(camera) });
  byId("cameras").replaceChildren(entry(null, t("setupNew")), ...cameras.map((camera) => entry(camera, camera.id)));
  listShapes();
}

drawBase(map);
map.attributionControl.setPrefix(false).addAttribution(ATTRIBUTION);
map.on("click", ({ latlng }) => stand({ lat: Number(latlng.lat.toFixed(6)), lon: Number(latlng.wrap().lng.toFixed(6)) }));
byId("look").addEventListener("click", look);
byId("tune").addEventListener("click", tune);
form.addEventListener("submit", save);
field("sensitivity").addEventListener("input", () => setText(byId("sensitivity-shown"), field("sensitivity").value));
for (const kind of ["mask", "zone"]) byId(`draw-${kind}`).addEventListener("click", () => shapes.draw(shapes.kind === kind ? null : kind));
shapes.addEventListener("change", listShapes);
byId("language").addEventListener("click", () => {
  setLanguage(nextLanguage());
  translate();
});
translate();
session.addEventListener("change", admit);
session.load();
