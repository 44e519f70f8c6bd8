/** The live link: snapshot, then stream; after sleep, a lost network or a restarted server it resumes at the last revision. */

import { fetchJson } from "./http.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const SILENCE_MS = 12_000;
const TICK_MS = 2_000;
const GRACE_MS = 20_000;
const REFRESH_MS = 60_000;

export class Live {
  #store;
  #fleet;
  #tell;
  #source = null;
  #timer = 0;
  #failures = 0;
  #heardAt = 0;
  #hasBeat = false;
  #tickedAt = Date.now();
  #attempt = 0;
  #refreshedAt = 0;

  /**
   * @param {import("./store.js").Store} store
   * @param {import("./fleet.js").Fleet} fleet
   * @param {(state: "connecting"|"live"|"lost"|"locked") => void} tell "locked": reading needs a key
   */
  constructor(store, fleet, tell) {
    this.#store = store;
    this.#fleet = fleet;
    this.#tell = tell;
    setInterval(() => this.#watch(), TICK_MS);
    addEventListener("online", () => this.#reconnect(0));
    // An open stream does not notice that its network is gone until much later.
    addEventListener("offline", () => this.#fail());
    addEventListener("pageshow", (event) => event.persisted && this.#reconnect(0));
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      if (this.#source === null) this.#reconnect(0);
      else this.#watch();
    });
  }

  /** Load the snapshot and follow the stream, again and again until the page is closed. */
  async connect() {
    const attempt = ++this.#attempt;
    this.#drop();
    try {
      const snapshot = await fetchSnapshot();
      if (attempt !== this.#attempt) return;
      // A revision below ours means another database: what we hold belongs to no one any more.
      const isFresh = !this.#store.isLoaded || Number(snapshot.incidents.revision ?? 0) < this.#store.revision;
      this.#store.load(snapshot, isFresh);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      // Without a key each further try would be refused too: whoever signs in connects again.
      if (error.status === 401) this.#tell("locked");
      else this.#fail();
      return;
    }
    this.#follow();
  }

  /** Fetch one incident with all that is known of it; false if there is none. */
  async find(id) {
    const before = this.#store.incidents.get(String(id));
    try {
      this.#store.putAnswer(await fetchJson(`api/incidents/${encodeURIComponent(id)}`), before);
    } catch {
      return false;
    }
    return this.#store.incidents.has(id);
  }

  #follow() {
    const source = new EventSource(`api/incidents/stream?after=${this.#store.revision}`);
    this.#source = source;
    this.#hasBeat = false;
    this.#heardAt = Date.now();
    source.onopen = () => {
      this.#failures = 0;
      this.#heardAt = Date.now();
      this.#tell("live");
    };
    // EventSource would retry with the `after` it began with; ours knows what has been seen since.
    source.onerror = () => source === this.#source && this.#fail();
    this.#take(source, "incident", (data) => this.#store.putIncident(data));
    this.#take(source, "post", (data) => this.#store.putPost(data));
    this.#take(source, "camera", (data) => this.#store.putCamera(data));
    this.#take(source, "node", (data) => this.#fleet.putNode(data));
    this.#take(source, "models", (data) => this.#fleet.putModels(data));
    this.#take(source, "deployment", (data) => this.#fleet.putDeployment(data));
    this.#take(source, "pipeline", (data) => {
      this.#hasBeat = true;
      this.#store.putPipeline(data);
    });
  }

  #take(source, type, put) {
    source.addEventListener(type, (event) => {
      if (source !== this.#source) return;
      this.#heardAt = Date.now();
      let data;
      try {
        data = JSON.parse(event.data);
      } catch {
        return; // One unreadable event must not stop those that follow.
      }
      if (data === null || typeof data !== "object") return;
      put(data);
      if (type !== "pipeline" && event.lastEventId !== "") this.#store.sawRevision(event.lastEventId);
    });
  }

  #fail() {
    this.#drop();
    this.#tell("lost");
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures);
    this.#failures += 1;
    // Jitter: thousands of pages must not come back in the same instant after a restart.
    this.#reconnect(wait * (0.75 + Math.random() / 2));
  }

  #reconnect(waitMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), waitMs);
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** Notice what EventSource does not: the machine slept, or the line is open and dead. */
  #watch() {
    const now = Date.now();
    const slept = now - this.#tickedAt > TICK_MS + SILENCE_MS && !document.hidden;
    this.#tickedAt = now;
    // Only a stream that has sent its beat (`pipeline`, each second) can be found silent.
    const isSilent = this.#hasBeat && now - this.#heardAt > SILENCE_MS;
    if (this.#source !== null && (slept || isSilent)) {
      this.#tell("lost");
      this.connect();
      return;
    }
    if (this.#source !== null && now - this.#refreshedAt > REFRESH_MS && this.#hasQuietIncident(now)) {
      this.#refreshedAt = now;
      this.#refresh();
    }
  }

  /** An incident ends because nothing happens, and for nothing no event is sent: look whether it has. */
  async #refresh() {
    const before = new Map(this.#store.incidents);
    try {
      const { features } = await fetchJson("api/incidents");
      for (const feature of features ?? []) this.#store.putAnswer(feature, before.get(String(feature?.id)), false);
    } catch {
      // The stream notices a lost connection; this look can wait for its next turn.
    }
  }

  #hasQuietIncident(now) {
    const before = now - this.#store.quietMs - GRACE_MS;
    return [...this.#store.incidents.values()].some((incident) => incident.isOpen && incident.lastSeen < before);
  }
}

/** Incidents first: their revision is where the stream begins, so nothing that comes between is missed. */
async function fetchSnapshot() {
  const incidents = await fetchJson("api/incidents");
  const [posts, cameras, pipeline] = await Promise.all([
    fetchJson("feed.json"),
    fetchJson("api/cameras"),
    fetchJson("api/pipeline").catch(() => null), // The strip may be empty; the alerts may not wait for it.
  ]);
  return { incidents, posts, cameras, pipeline };
}
