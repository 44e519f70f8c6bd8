/** The map: a pin for every place and hazard, spread where they would hide each other, and the cameras beneath them. */

import { ATTRIBUTION, drawBase, KOREA } from "./basemap.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";
import { describe, pinIcon, pinLook } from "./pins.js";
import { gather, middle, MOST_SPREAD, spread } from "./spread.js";

const FOCUS_ZOOM = 11;
const WORLD = [
  [-85, -270],
  [85, 270],
];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class AlertMap {
  #map;
  #pins = new Map();
  #legs;
  #cameras;
  #nodes;
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
    this.#map = L.map(container, { zoomControl: false, minZoom: 2, maxZoom: 17, zoomSnap: 0.5, worldCopyJump: false, maxBounds: WORLD, maxBoundsViscosity: 1 });
    this.#map.attributionControl.setPrefix('<a href="https://leafletjs.com">Leaflet</a>');
    this.#map.fitBounds(KOREA);
    this.#writeNames = this.#drawBase();
    this.#map.createPane("cameras").style.zIndex = 500;
    this.#cameras = L.layerGroup().addTo(this.#map);
    this.#nodes = L.layerGroup().addTo(this.#map);
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

  /** What the map shows, as [west, south, east, north] in degrees. */
  get area() {
    const view = this.#map.getBounds();
    const within = (degrees, most) => Number(Math.max(-most, Math.min(most, degrees)).toFixed(4));
    return [within(view.getWest(), 180), within(view.getSouth(), 90), within(view.getEast(), 180), within(view.getNorth(), 90)];
  }

  /** Show this area, as [west, south, east, north]; it counts as the reader's own choice. */
  showArea([west, south, east, north]) {
    this.#wasMoved = true;
    this.#map.fitBounds([[south, west], [north, east]], { animate: false });
  }

  /** Call `tell` whenever the map has come to rest in another place. */
  onMove(tell) {
    this.#map.on("moveend", tell);
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

  /** Mark machines: `{id, state, word, lat, lon, isAbout}` each. */
  showNodes(nodes) {
    this.#nodes.clearLayers();
    for (const { id, state, word, lat, lon, isAbout } of nodes) {
      const icon = L.divIcon({ className: `node-dot is-${state}`, iconSize: [14, 14] });
      const marker = L.marker([lat, lon], { icon, keyboard: false, pane: "cameras" });
      const words = [id, word, ...(isAbout ? [t("nodeAbout")] : [])].join(" · ");
      marker.bindTooltip(el("span", { text: words }), { direction: "top", offset: [0, -7] });
      this.#nodes.addLayer(marker);
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
    return drawBase(this.#map);
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
    const look = pinLook(incidents, isCrowd, this.#selected);
    const signature = JSON.stringify(look);
    let pin = this.#pins.get(key);
    if (pin === undefined) {
      const marker = L.marker(at, { icon: pinIcon(look), riseOnHover: true });
      marker.on("click", () => this.#choose(key));
      marker.addTo(this.#map);
      pin = { marker, signature };
      this.#pins.set(key, pin);
    } else {
      pin.marker.setLatLng(at);
      if (pin.signature !== signature) {
        const hadFocus = pin.marker.getElement() === document.activeElement;
        pin.marker.setIcon(pinIcon(look));
        pin.signature = signature;
        if (hadFocus) pin.marker.getElement()?.focus({ preventScroll: true });
      }
    }
    const newest = incidents.reduce((a, b) => (a.lastSeen >= b.lastSeen ? a : b));
    pin.ids = incidents.map((incident) => incident.id);
    pin.newest = newest.id;
    pin.bounds = isCrowd ? L.latLngBounds(stacks.map(({ lat, lon }) => [lat, lon])) : null;
    pin.marker.setZIndexOffset(look.isSelected ? 3000 : { now: 2000, hour: 1000, day: 500, old: 0 }[look.age] - (look.isFalse ? 250 : 0));
    pin.marker.getElement()?.setAttribute("aria-label", describe(incidents, newest, isCrowd));
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
