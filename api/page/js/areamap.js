/** A small map on which the reader draws where to be warned: a circle by one tap, or a route by several. */

import { ATTRIBUTION, drawBase } from "./basemap.js";

const MOST_POINTS = 200;

export class AreaMap {
  #map;
  #shapes;
  #kind = "circle";
  #points = [];
  #metres = 2000;
  #change;
  #observer;
  #wasFitted = false;

  /**
   * @param {HTMLElement} container
   * @param {[number, number, number, number]} view west, south, east, north
   * @param {() => void} change called when the reader has drawn
   */
  constructor(container, [west, south, east, north], change) {
    this.#change = change;
    this.#map = L.map(container, { zoomControl: true, attributionControl: true, minZoom: 2, maxZoom: 17, zoomSnap: 0.5, doubleClickZoom: false, zoomAnimation: false, fadeAnimation: false });
    this.#map.attributionControl.setPrefix(false).addAttribution(ATTRIBUTION);
    this.#map.fitBounds([[south, west], [north, east]], { animate: false });
    const tiles = document.querySelector("meta[name=bongsu-tiles]");
    if (tiles?.content) L.tileLayer(tiles.content, { attribution: tiles.dataset.attribution }).addTo(this.#map);
    else drawBase(this.#map)();
    this.#shapes = L.layerGroup().addTo(this.#map);
    this.#map.on("click", ({ latlng }) => this.add(latlng.lat, latlng.lng));
    this.#observer = new ResizeObserver(() => this.#map.invalidateSize({ pan: false }));
    this.#observer.observe(container);
  }

  /** The area as the API takes it; null while too little is drawn. */
  get area() {
    if (this.#kind === "circle") {
      const [point] = this.#points;
      return point === undefined ? null : { kind: "circle", lat: point[0], lon: point[1], radius_m: this.#metres };
    }
    return this.#points.length < 2 ? null : { kind: "route", points: this.#points, width_m: this.#metres };
  }

  get count() {
    return this.#points.length;
  }

  /** Draw circles or routes; what was drawn of the other kind goes. */
  choose(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    this.#points = [];
    this.#draw();
  }

  /** The radius, or how far the corridor reaches to either side. */
  set metres(metres) {
    this.#metres = metres;
    this.#draw();
  }

  /** A point that the reader chose: the middle of the circle, or the next one of the route. */
  add(lat, lon) {
    const point = [Number(lat.toFixed(5)), Number((((lon + 540) % 360) - 180).toFixed(5))];
    this.#points = this.#kind === "circle" ? [point] : [...this.#points, point].slice(0, MOST_POINTS);
    const isFirst = this.count === 1 && this.#kind === "circle" && !this.#wasFitted;
    this.#draw();
    // On a map of the country a circle of two kilometres is a dot: show it, and the reader can move it.
    if (isFirst) this.fit();
    this.#change();
  }

  /** Take the last point of a route back. */
  undo() {
    this.#points = this.#points.slice(0, -1);
    this.#draw();
    this.#change();
  }

  /** Show an area that is subscribed to already. */
  show(area) {
    this.#kind = area.kind;
    this.#points = area.kind === "circle" ? [[area.lat, area.lon]] : area.points;
    this.#metres = area.kind === "circle" ? area.radius_m : area.width_m;
    this.#draw();
    this.fit();
  }

  /** Bring what is drawn into view. */
  fit() {
    if (this.#points.length === 0) return;
    this.#wasFitted = true;
    const bounds = L.latLngBounds([]);
    for (const point of this.#points) bounds.extend(L.latLng(point).toBounds(this.#metres * 2));
    this.#map.fitBounds(bounds, { animate: false, padding: [12, 12] });
  }

  remove() {
    this.#observer.disconnect();
    this.#map.remove();
  }

  #draw() {
    this.#shapes.clearLayers();
    const shape = (className) => ({ className, interactive: false });
    if (this.#kind === "circle") {
      for (const point of this.#points) this.#shapes.addLayer(L.circle(point, { radius: this.#metres, ...shape("watch-area") }));
    } else if (this.#points.length > 0) {
      for (const point of this.#points) this.#shapes.addLayer(L.circle(point, { radius: this.#metres, ...shape("watch-reach") }));
      for (const [index, end] of this.#points.slice(1).entries()) {
        this.#shapes.addLayer(L.polygon(corridor(this.#points[index], end, this.#metres), shape("watch-reach")));
      }
      this.#shapes.addLayer(L.polyline(this.#points, shape("watch-route")));
    }
    for (const point of this.#points) this.#shapes.addLayer(L.circleMarker(point, { radius: 5, ...shape("watch-point") }));
  }
}

/** The corners of what lies within `metres` to either side of a leg. */
function corridor([lat1, lon1], [lat2, lon2], metres) {
  const degree = 111_195;
  const narrow = Math.cos((((lat1 + lat2) / 2) * Math.PI) / 180);
  const [east, north] = [(lon2 - lon1) * narrow, lat2 - lat1];
  const long = Math.hypot(east, north) || 1;
  const [dLat, dLon] = [((east / long) * metres) / degree, ((-north / long) * metres) / (degree * narrow)];
  return [[lat1 + dLat, lon1 + dLon], [lat2 + dLat, lon2 + dLon], [lat2 - dLat, lon2 - dLon], [lat1 - dLat, lon1 - dLon]];
}
