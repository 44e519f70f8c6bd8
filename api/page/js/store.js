/** What the page knows: incidents, posts, cameras and the pipeline, each once by its id, and the filters over them. */

import { Filters } from "./filters.js";

// A page that stays open for weeks forgets the oldest; the archive brings them back when they are asked for.
const MOST_INCIDENTS = 3000;
const MOST_POSTS = 500;
const WHOLE_FEED = 100;

export class Store extends EventTarget {
  incidents = new Map();
  posts = new Map();
  cameras = new Map();
  pipeline = null;
  revision = 0;
  /** Milliseconds after which an unseen hazard is over, as the API says. */
  quietMs = 120_000;
  isLoaded = false;
  filters = new Filters();
  /** From when on (last sighting, ms) every incident is held; -Infinity where all are. */
  horizon = -Infinity;
  /** From when on (ms) every post is held. */
  #postHorizon = -Infinity;

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
    if (isFresh) this.#seeHorizons(incidents, posts);
    this.#trim();
    for (const feature of cameras.features ?? []) this.#putCamera(feature);
    if (pipeline) this.pipeline = pipeline;
    // After a loss the stream goes on from what was seen last: the list holds only the newest, and more may have come meanwhile.
    if (isFresh) this.sawRevision(incidents.revision);
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
    if (isNew) this.#trim();
    if (isNew !== null) this.#tell("change", isNew && !isOld ? { incident: this.incidents.get(String(feature.id)) } : {});
  }

  /**
   * What an answer says of an incident. If the stream has told of it while the answer was on its way, that is newer: then only its
   * stages are taken, which the stream does not tell.
   * @param {object} feature
   * @param {object|undefined} before what was held when it was asked for
   */
  putAnswer(feature, before, isOld = true) {
    const held = this.incidents.get(String(feature?.id));
    if (held === before || held === undefined) {
      this.putIncident(feature, isOld);
      return;
    }
    if (Array.isArray(feature.properties?.stages)) held.stages = feature.properties.stages;
    if (held.isHeld && held.caption === null) {
      held.caption = feature.properties?.caption ?? null;
      held.snapshot = feature.properties?.snapshot ?? null;
    }
    this.#tell("change");
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

  /** Incidents from the archive: known from now on, but no news. */
  putOld(features) {
    for (const feature of features) this.#putIncident(feature, true);
    this.#tell("change");
  }

  /** Change the filters by `change`, which gets them. */
  filter(change) {
    change(this.filters);
    this.#tell("filters");
    this.#tell("change");
  }

  /** Incidents that pass the filters, and the one called `always`, oldest sighting first (so that the newest pin is drawn on top). */
  visibleIncidents(always = null, now = Date.now()) {
    return [...this.incidents.values()]
      .filter((incident) => incident.id === always || this.filters.passes(incident, now))
      .sort((a, b) => a.lastSeen - b.lastSeen);
  }

  /** Every card of the feed, newest first: the posts, and the incidents of a time whose posts are not held. */
  get cards() {
    const posted = new Set([...this.posts.values()].map((post) => post.incident));
    const unposted = [...this.incidents.values()].filter(
      (incident) => !posted.has(incident.id) && (incident.isArchived || incident.firstSeen < this.#postHorizon),
    );
    return [...this.posts.values(), ...unposted.map(cardOf)].sort((a, b) => b.at - a.at || b.revision - a.revision);
  }

  /** Whether a card passes the filters. A post counts as recent while its incident lasts. */
  passes(card, now = Date.now()) {
    const incident = this.incidents.get(card.incident);
    if (incident !== undefined) return this.filters.passes({ ...incident, lastSeen: Math.max(card.at, incident.lastSeen) }, now);
    // Its incident is older than what is held: all that can be asked of the post itself is asked.
    const told = { hazard: card.hazard, firstSeen: card.at, lastSeen: card.at, isOpen: false, isFalse: false, isAcknowledged: false };
    return this.filters.area === null && this.filters.passes(told, now);
  }

  /** True if new, false if known, null if it cannot be used. */
  #putIncident(feature, isArchived = false) {
    const [lon, lat] = feature?.geometry?.coordinates ?? [];
    const given = feature?.properties;
    const id = feature?.id ?? given?.id;
    if (!given || id === undefined || !Number.isFinite(lon) || !Number.isFinite(lat)) return null;
    const key = String(id);
    const known = this.incidents.get(key);
    const isNew = known === undefined;
    const review = reviewOf(given.review);
    const isHeld = given.status === "held";
    // The stream has no words and no picture of a held alert; an operator gets them from its own address.
    const keeps = isHeld && known?.isHeld === true && !given.caption;
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
      caption: keeps ? known.caption : (given.caption ?? null),
      snapshot: keeps ? known.snapshot : (given.snapshot ?? null),
      pinS: number(given.pin_s),
      review,
      isFalse: given.status === "false_alarm" || review?.verdict === "false_alarm",
      isHeld,
      isAcknowledged: review?.verdict === "acknowledged",
      isLate: given.late === true,
      // Only an incident's own address tells its stages; a list or the stream does not take them back.
      stages: Array.isArray(given.stages) ? given.stages : (known?.stages ?? null),
      isArchived: known?.isArchived ?? isArchived,
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
      map: mapOf(item),
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
      snapshot: given.snapshot ?? null,
      snapshotAt: time(given.snapshot_at),
    });
    return true;
  }

  #seeHorizons(incidents, posts) {
    const seen = [...this.incidents.values()].map((incident) => incident.lastSeen);
    this.horizon = typeof incidents.next === "string" && seen.length > 0 ? Math.min(...seen) : -Infinity;
    const at = [...this.posts.values()].map((post) => post.at);
    this.#postHorizon = at.length >= WHOLE_FEED ? Math.min(...at) : -Infinity;
  }

  #trim() {
    if (this.incidents.size > MOST_INCIDENTS * 1.2) {
      const byAge = [...this.incidents.values()].sort((a, b) => b.lastSeen - a.lastSeen);
      for (const { id } of byAge.slice(MOST_INCIDENTS)) this.incidents.delete(id);
      this.horizon = Math.max(this.horizon, byAge[MOST_INCIDENTS - 1].lastSeen);
    }
    if (this.posts.size > MOST_POSTS * 1.2) {
      const byAge = [...this.posts.values()].sort((a, b) => b.at - a.at);
      for (const { id } of byAge.slice(MOST_POSTS)) this.posts.delete(id);
      this.#postHorizon = byAge[MOST_POSTS - 1].at;
    }
  }

  #tell(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The card of an incident whose post is not held. */
function cardOf({ id, hazard, place, caption, snapshot, firstSeen }) {
  return { id: `incident-${id}`, incident: id, hazard, place, caption, revision: 0, title: "", text: "", image: snapshot, map: null, at: firstSeen };
}

function reviewOf(given) {
  if (given === null || typeof given !== "object") return null;
  return { verdict: String(given.verdict ?? ""), by: String(given.by ?? ""), at: time(given.at), note: String(given.note ?? "") };
}

/** The address of a post's location map, where the feed names one. */
function mapOf({ attachments }) {
  if (!Array.isArray(attachments)) return null;
  return attachments.map((attachment) => attachment?.url).find((url) => typeof url === "string" && /\/location(\?|$)/.test(url)) ?? null;
}

/** Milliseconds since 1970 of an ISO time, 0 where it cannot be read. */
function time(text) {
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? 0 : at;
}

function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
