/** What the page knows: incidents, posts, cameras and the pipeline, each once by its id, and the filters over them. */

import { HAZARDS, kind } from "./hazards.js";

export const SPANS = { hour: 3600e3, day: 86400e3, all: Infinity };

export class Store extends EventTarget {
  incidents = new Map();
  posts = new Map();
  cameras = new Map();
  pipeline = null;
  revision = 0;
  /** Milliseconds after which an unseen hazard is over, as the API says. */
  quietMs = 120_000;
  isLoaded = false;
  shown = new Set(HAZARDS);
  span = "day";

  /** Take a whole snapshot. `isFresh` forgets what was there: the server began again, or this is the first load. */
  load({ incidents, posts, cameras, pipeline }, isFresh) {
    if (isFresh) {
      this.incidents.clear();
      this.posts.clear();
      this.cameras.clear();
      this.revision = 0;
    }
    const news = [];
    for (const feature of incidents.features ?? []) {
      if (this.#putIncident(feature) && !isFresh) news.push(this.incidents.get(String(feature.id)));
    }
    for (const item of posts.items ?? []) this.#putPost(item);
    for (const feature of cameras.features ?? []) this.#putCamera(feature);
    if (pipeline) this.pipeline = pipeline;
    this.sawRevision(incidents.revision);
    if (incidents.quiet_s > 0) this.quietMs = incidents.quiet_s * 1000;
    this.isLoaded = true;
    this.#tell("change");
    this.#tell("pipeline");
    this.#tell("cameras");
    for (const incident of news) this.#tell("change", { incident });
  }

  /** `isOld` keeps one that was only looked up from being announced as news. */
  putIncident(feature, isOld = false) {
    const isNew = this.#putIncident(feature);
    if (isNew !== null) this.#tell("change", isNew && !isOld ? { incident: this.incidents.get(String(feature.id)) } : {});
  }

  putPost(item) {
    const isNew = this.#putPost(item);
    if (isNew !== null) this.#tell("change", isNew ? { post: this.posts.get(String(item.id)) } : {});
  }

  putCamera(feature) {
    if (this.#putCamera(feature)) this.#tell("cameras");
  }

  putPipeline(pipeline) {
    this.pipeline = pipeline;
    this.#tell("pipeline");
  }

  sawRevision(revision) {
    const number = Number(revision);
    if (Number.isFinite(number) && number > this.revision) this.revision = number;
  }

  toggleHazard(hazard) {
    if (this.shown.has(hazard)) this.shown.delete(hazard);
    else this.shown.add(hazard);
    this.#tell("change");
  }

  setSpan(span) {
    this.span = span;
    this.#tell("change");
  }

  showAll() {
    this.shown = new Set(HAZARDS);
    this.span = "all";
    this.#tell("change");
  }

  /** Incidents that pass the filters, oldest sighting first (so that the newest pin is drawn on top). */
  visibleIncidents(now = Date.now()) {
    return [...this.incidents.values()]
      .filter((incident) => this.#passes(incident.hazard, incident.lastSeen, now))
      .sort((a, b) => a.lastSeen - b.lastSeen);
  }

  /** Posts that pass the filters, newest first. A post counts as recent while its incident lasts. */
  visiblePosts(now = Date.now()) {
    return [...this.posts.values()]
      .filter((post) => {
        const seen = this.incidents.get(post.incident)?.lastSeen ?? 0;
        return this.#passes(post.hazard, Math.max(post.at, seen), now);
      })
      .sort((a, b) => b.at - a.at || b.revision - a.revision);
  }

  #passes(hazard, at, now) {
    // A hazard this page has no chip for is always shown: an alert must not vanish because the page is older.
    return (this.shown.has(hazard) || kind(hazard) === "other") && now - at <= SPANS[this.span];
  }

  /** True if new, false if known, null if it cannot be used. */
  #putIncident(feature) {
    const [lon, lat] = feature?.geometry?.coordinates ?? [];
    const given = feature?.properties;
    const id = feature?.id ?? given?.id;
    if (!given || id === undefined || !Number.isFinite(lon) || !Number.isFinite(lat)) return null;
    const key = String(id);
    const isNew = !this.incidents.has(key);
    const lastSeen = time(given.last_seen);
    this.incidents.set(key, {
      id: key,
      lat,
      lon,
      hazard: String(given.hazard ?? "other"),
      camera: String(given.camera ?? ""),
      place: String(given.place ?? ""),
      region: String(given.region ?? ""),
      firstSeen: time(given.first_seen) || lastSeen,
      lastSeen,
      confidence: number(given.confidence),
      sightings: number(given.sightings),
      isOpen: given.status === "open",
      caption: given.caption ?? null,
      snapshot: given.snapshot ?? null,
      pinS: number(given.pin_s),
    });
    return isNew;
  }

  #putPost(item) {
    if (item?.id === undefined) return null;
    const key = String(item.id);
    const ours = item._bongsu ?? {};
    const isNew = !this.posts.has(key);
    this.posts.set(key, {
      id: key,
      incident: ours.incident === undefined || ours.incident === null ? null : String(ours.incident),
      hazard: String(ours.hazard ?? "other"),
      place: String(ours.place ?? ""),
      caption: ours.text ?? ours.caption ?? null,
      revision: number(ours.revision) ?? 0,
      title: String(item.title ?? ""),
      text: String(item.content_text ?? ""),
      image: item.image ?? null,
      at: time(item.date_published),
    });
    return isNew;
  }

  #putCamera(feature) {
    const [lon, lat] = feature?.geometry?.coordinates ?? [];
    const given = feature?.properties;
    const id = given?.id ?? feature?.id;
    if (!given || id === undefined) return false;
    const status = String(given.status ?? "unknown");
    this.cameras.set(String(id), {
      id: String(id),
      lat: Number.isFinite(lat) ? lat : null,
      lon: Number.isFinite(lon) ? lon : null,
      place: String(given.place ?? ""),
      region: String(given.region ?? ""),
      state: status === "live" ? "live" : status.startsWith("lost") ? "lost" : "unknown",
      reason: status.startsWith("lost:") ? status.slice(5).trim() : "",
      changedAt: time(given.changed_at),
    });
    return true;
  }

  #tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Milliseconds since 1970 of an ISO time, 0 where it cannot be read. */
function time(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? 0 : at;
}

function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
