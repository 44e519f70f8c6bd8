/** The map: a pin for every place and hazard, spread where they would hide each other, and the cameras beneath them. */

import { el } from "./dom.js";
import { badge, kind } from "./hazards.js";
import { ago, nameOf, t } from "./i18n.js";
import { ATTRIBUTION, drawKorea, KOREA } from "./korea.js";

const PIN_PX = 36;
const TOO_CLOSE_PX = 32;
const MOST_SPREAD = 6;
const RECENT_MS = 60_000;
const FOCUS_ZOOM = 11;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class AlertMap {
  #map;
  #pins = new Map();
  #legs;
  #cameras;
  #incidents = [];
  #selected = null;
  #writeNames;
  #wasMoved = false;
  #zoom = null;
  #open;

  /**
   * @param {HTMLElement} container
   * @param {(incident: string) => void} open called when a pin is chosen
   */
  constructor(container, open) {
    this.#open = open;
    this.#map = L.map(container, { zoomControl: false, minZoom: 5, maxZoom: 17, zoomSnap: 0.5, worldCopyJump: false });
    this.#map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
    this.#map.fitBounds(KOREA);
    this.#writeNames = this.#drawBase();
    this.#map.createPane("cameras").style.zIndex = 500;
    this.#cameras = L.layerGroup().addTo(this.#map);
    this.#legs = L.layerGroup().addTo(this.#map);
    L.control.scale({ imperial: false, position: "bottomright" }).addTo(this.#map);
    this.relabel();
    this.#map.on("zoomend", () => this.#layOut());
    for (const type of ["pointerdown", "wheel", "keydown"]) {
      container.addEventListener(type, () => (this.#wasMoved = true), { passive: true });
    }
    new ResizeObserver(() => this.#map.invalidateSize({ pan: false })).observe(container);
  }

  /** Show these incidents, oldest first. */
  show(incidents) {
    this.#incidents = incidents;
    this.#layOut();
  }

  showCameras(cameras) {
    this.#cameras.clearLayers();
    for (const camera of cameras) {
      if (camera.lat === null || camera.lon === null) continue;
      const icon = L.divIcon({ className: `camera-dot is-${camera.state}`, iconSize: [12, 12] });
      const marker = L.marker([camera.lat, camera.lon], { icon, keyboard: false, pane: "cameras" });
      const word = t({ live: "cameraLive", lost: "cameraLost", unknown: "cameraUnknown" }[camera.state]);
      // An element, never a string: Leaflet would read a string as HTML.
      marker.bindTooltip(el("span", { text: `${camera.place || camera.id} · ${word}` }), { direction: "top", offset: [0, -6] });
      this.#cameras.addLayer(marker);
    }
  }

  /** Bring everything that is known into view; does nothing once the reader has moved the map, unless `force`. */
  fit(places, force = false) {
    if (this.#wasMoved && !force) return;
    if (places.length === 0) {
      this.#map.fitBounds(KOREA);
      return;
    }
    const bounds = L.latLngBounds(places.map(({ lat, lon }) => [lat, lon]));
    this.#map.fitBounds(bounds.pad(0.1), { padding: [48, 48], maxZoom: FOCUS_ZOOM, animate: !calm.matches && force });
  }

  /** Bring one incident into the part of the map that `covered` (pixels from the left and from below) leaves free. */
  focus(incident, covered) {
    this.#wasMoved = true;
    this.#selected = incident.id;
    this.#layOut();
    const zoom = Math.max(this.#map.getZoom(), FOCUS_ZOOM);
    const at = this.#map.project([incident.lat, incident.lon], zoom);
    const center = this.#map.unproject(at.subtract([covered.left / 2, -covered.bottom / 2]), zoom);
    if (calm.matches) this.#map.setView(center, zoom, { animate: false });
    else this.#map.flyTo(center, zoom, { duration: 0.6 });
  }

  unselect() {
    this.#selected = null;
    this.#layOut();
  }

  /** Put the keyboard back on the pin of an incident; false where it has none. */
  focusPin(id) {
    for (const pin of this.#pins.values()) {
      if (!pin.ids.includes(id)) continue;
      pin.marker.getElement()?.focus({ preventScroll: true });
      return true;
    }
    return false;
  }

  /** Say everything again in the current language. */
  relabel() {
    this.#writeNames?.();
    this.#zoom?.remove();
    this.#zoom = L.control
      .zoom({ position: "topright", zoomInTitle: t("zoomIn"), zoomOutTitle: t("zoomOut") })
      .addTo(this.#map);
    this.#layOut();
  }

  #drawBase() {
    const meta = document.querySelector('meta[name="bongsu-tiles"]');
    const tiles = meta?.content ?? "";
    if (tiles !== "") {
      const attribution = el("span", { text: meta.dataset.attribution ?? "" }).innerHTML;
      L.tileLayer(tiles, { attribution, maxZoom: 19 }).addTo(this.#map);
      return null;
    }
    this.#map.attributionControl.addAttribution(ATTRIBUTION);
    return drawKorea(this.#map);
  }

  /** Place the pins: one for each place and hazard; neighbours are spread around their middle, a crowd becomes a count. */
  #layOut() {
    const wanted = new Map();
    const legs = [];
    for (const group of gather(this.#stacks(), this.#map)) {
      if (group.length > MOST_SPREAD && !this.#isOnePlace(group)) {
        const key = `crowd ${group.map((stack) => stack.key).join()}`;
        wanted.set(key, { stacks: group, at: middle(group), isCrowd: true });
        continue;
      }
      spread(group, this.#map).forEach(({ stack, at, leg }) => {
        wanted.set(stack.key, { stacks: [stack], at, isCrowd: false });
        if (leg) legs.push([[stack.lat, stack.lon], at]);
      });
    }
    for (const [key, pin] of this.#pins) {
      if (wanted.has(key)) continue;
      pin.marker.remove();
      this.#pins.delete(key);
    }
    for (const [key, pin] of wanted) this.#place(key, pin);
    this.#legs.clearLayers();
    for (const leg of legs) {
      this.#legs.addLayer(L.polyline(leg, { className: "leg", interactive: false }));
      this.#legs.addLayer(L.circleMarker(leg[0], { className: "leg-foot", radius: 3, interactive: false }));
    }
  }

  #place(key, { stacks, at, isCrowd }) {
    const incidents = stacks.flatMap((stack) => stack.incidents);
    const newest = incidents.reduce((a, b) => (a.lastSeen >= b.lastSeen ? a : b));
    const isRecent = newest.isOpen && Date.now() - newest.lastSeen < RECENT_MS;
    const isSelected = incidents.some((incident) => incident.id === this.#selected);
    const kinds = [...new Set(incidents.map((incident) => kind(incident.hazard)))].sort();
    const about = { isRecent, isSelected, isCrowd, kinds };
    const look = JSON.stringify([about, kind(newest.hazard), incidents.length, newest.isOpen]);
    let pin = this.#pins.get(key);
    if (pin === undefined) {
      const marker = L.marker(at, { icon: icon(newest, incidents.length, about), riseOnHover: true });
      marker.on("click", () => this.#choose(key));
      marker.addTo(this.#map);
      pin = { marker, look };
      this.#pins.set(key, pin);
    } else {
      pin.marker.setLatLng(at);
      if (pin.look !== look) {
        const hadFocus = pin.marker.getElement() === document.activeElement;
        pin.marker.setIcon(icon(newest, incidents.length, about));
        pin.look = look;
        if (hadFocus) pin.marker.getElement()?.focus({ preventScroll: true });
      }
    }
    pin.ids = incidents.map((incident) => incident.id);
    pin.newest = newest.id;
    pin.bounds = isCrowd ? L.latLngBounds(stacks.map(({ lat, lon }) => [lat, lon])) : null;
    pin.marker.setZIndexOffset(isSelected ? 2000 : isRecent ? 1000 : 0);
    pin.marker.getElement()?.setAttribute("aria-label", describe(newest, incidents.length, isCrowd));
  }

  #choose(key) {
    const pin = this.#pins.get(key);
    if (pin === undefined) return;
    if (pin.bounds !== null) this.#map.fitBounds(pin.bounds, { padding: [64, 64], animate: !calm.matches });
    else this.#open(pin.newest);
  }

  #isOnePlace(group) {
    return group.every(({ lat, lon }) => lat === group[0].lat && lon === group[0].lon);
  }

  /** Incidents of one hazard at one place: one pin. */
  #stacks() {
    const stacks = new Map();
    for (const incident of this.#incidents) {
      const key = `${incident.lat.toFixed(5)} ${incident.lon.toFixed(5)} ${incident.hazard}`;
      if (!stacks.has(key)) stacks.set(key, { key, lat: incident.lat, lon: incident.lon, incidents: [] });
      stacks.get(key).incidents.push(incident);
    }
    return [...stacks.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

function icon(newest, count, { isRecent, isSelected, isCrowd, kinds }) {
  const classes = ["pin", `hazard-${kind(newest.hazard)}`];
  if (isRecent) classes.push("is-recent");
  if (isSelected) classes.push("is-selected");
  if (!newest.isOpen) classes.push("is-over");
  if (isCrowd) classes.push("is-crowd");
  const pulse = el("span", { class: "pin-pulse" });
  if (isCrowd) {
    const badges = el("span", { class: "crowd-kinds" }, ...kinds.map((each) => badge(each)));
    const html = el("span", { class: "pin-inner" }, pulse, el("span", { class: "crowd-count", text: count > 99 ? "99+" : count }), badges);
    return L.divIcon({ className: classes.join(" "), html, iconSize: [PIN_PX, PIN_PX] });
  }
  const html = el(
    "span",
    { class: "pin-inner" },
    pulse,
    badge(newest.hazard),
    count > 1 ? el("span", { class: "pin-count", text: count > 99 ? "99+" : count }) : null,
  );
  return L.divIcon({ className: classes.join(" "), html, iconSize: [PIN_PX, PIN_PX] });
}

function describe(newest, count, isCrowd) {
  if (isCrowd) return t("cluster", count);
  const text = t("pin", nameOf(kind(newest.hazard)), newest.place || t("unknownPlace"), ago(newest.lastSeen));
  return count > 1 ? `${text}. ${t("pins", count)}` : text;
}

/** Stacks whose pins would overlap at this zoom, together: first those too close, then small groups whose spread would meet. */
function gather(stacks, map) {
  const groups = stacks.map((stack) => ({ center: map.project([stack.lat, stack.lon]), members: [stack] }));
  merge(groups, map, () => TOO_CLOSE_PX);
  merge(groups, map, (a, b) => (a + b > MOST_SPREAD ? 0 : TOO_CLOSE_PX + radius(a) + radius(b)));
  return groups.map((group) => group.members);
}

/** Merge, in place, groups nearer to each other than `reach` of their sizes, in pixels. */
function merge(groups, map, reach) {
  for (let i = 0; i < groups.length; i += 1) {
    for (let j = 0; j < groups.length; j += 1) {
      const [one, other] = [groups[i], groups[j]];
      if (i === j || one.center.distanceTo(other.center) >= reach(one.members.length, other.members.length)) continue;
      one.members.push(...other.members);
      one.center = map.project(middle(one.members));
      groups.splice(j, 1);
      if (j < i) i -= 1;
      j = -1; // The group has grown: look at every other one again.
    }
  }
}

/** Positions around the middle of a group, far enough apart that each pin can be seen and touched. */
function spread(group, map) {
  if (group.length === 1) return [{ stack: group[0], at: [group[0].lat, group[0].lon], leg: false }];
  const center = map.project(middle(group));
  // In the order of their true directions, so that the legs do not cross.
  const from = group.length === 2 ? -Math.PI : -Math.PI / 2;
  const turn = (stack) => direction(stack, from, center, map);
  const ordered = [...group].sort((a, b) => turn(a) - turn(b) || (a.key < b.key ? -1 : 1));
  return ordered.map((stack, index) => {
    const angle = from + (index / group.length) * 2 * Math.PI;
    const at = map.unproject(center.add([radius(group.length) * Math.cos(angle), radius(group.length) * Math.sin(angle)]));
    return { stack, at: [at.lat, at.lng], leg: true };
  });
}

/** Where a stack truly stands, as an angle clockwise from the angle `from`. */
function direction(stack, from, center, map) {
  const { x, y } = map.project([stack.lat, stack.lon]).subtract(center);
  if (Math.hypot(x, y) < 1) return 0;
  // Half a slot early, so that one that stands just before `from` does not go all the way round.
  return (Math.atan2(y, x) - from + 4 * Math.PI + Math.PI / 6) % (2 * Math.PI);
}

/** How far from the middle the pins of a group of `count` stand, in pixels; a crowd is one pin. */
function radius(count) {
  if (count === 1 || count > MOST_SPREAD) return 0;
  return Math.max(24, ((PIN_PX + 4) * count) / (2 * Math.PI));
}

function middle(group) {
  const sum = group.reduce(([lat, lon], stack) => [lat + stack.lat, lon + stack.lon], [0, 0]);
  return [sum[0] / group.length, sum[1] / group.length];
}
