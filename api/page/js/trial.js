/** A try of a session: pictures of the reader's camera, or of a clip, go to a worker of their own, and its boxes are drawn. */

import { el, setText } from "./dom.js";
import { drawBoxes } from "./boxes.js";
import { decimal, t } from "./i18n.js";
import { SessionSocket } from "./receive.js";

const WIDTH_PX = 640;
const JPEG_QUALITY = 0.8;
const TTL_S = 600;
const MODELS = ["hazard", "scene"];
const CLIENT = "map-page";
/** Frames over which the speed is told. */
const RECENT = 20;

export class Trial {
  #server;
  #clip;
  #node = el("div", { class: "trial" });
  #words = [];
  #video = el("video", { muted: true, playsinline: true, loop: true, hidden: true });
  #screen = el("canvas", { class: "trial-screen", width: WIDTH_PX, height: 360, role: "img" });
  #said = el("p", { class: "trial-said", role: "status" });
  #speed = el("p", { class: "trial-speed" });
  #model = el("select", { id: "trial-model" });
  #stop;
  #starts = [];
  /** What runs: {abort, stream, session, socket, n, sentAt, frame, recent}; null while nothing does. */
  #run = null;

  /** @param {import("./receive.js").ReceiveServer} server @param {string|null} clip address of a video */
  constructor(server, clip) {
    this.#server = server;
    this.#clip = clip;
    this.#video.muted = true;
    this.#model.append(...MODELS.map((model) => el("option", { value: model })));
    addEventListener("pagehide", () => this.stop());
    this.#build();
  }

  get node() {
    return this.#node;
  }

  /** Every word again, after the language changed. */
  relabel() {
    for (const [node, key] of this.#words) setText(node, t(key));
    for (const option of this.#model.options) option.textContent = t(`trialModel_${option.value}`);
    this.#screen.setAttribute("aria-label", t("trialScreen"));
    if (this.#run === null) setText(this.#said, t("trialIdle"));
  }

  /** End the session, let go of the camera. @param {string} why a word of what is said then */
  stop(why = "trialIdle") {
    const run = this.#run;
    if (run === null) return;
    this.#run = null;
    run.abort.abort();
    run.socket?.close();
    if (run.session) this.#server.end(run.session);
    for (const track of run.stream?.getTracks() ?? []) track.stop();
    this.#video.pause();
    this.#video.srcObject = null;
    this.#video.removeAttribute("src");
    this.#show(why);
  }

  #build() {
    const button = (key, press, isMain = false) => {
      const node = el("button", { type: "button", class: isMain ? "button is-main" : "button", onclick: press });
      this.#words.push([node, key]);
      return node;
    };
    const clip = this.#clip === null ? null : button("trialClip", () => this.#start(() => this.#openClip()), true);
    this.#starts = [button("trialCamera", () => this.#start((run) => this.#openCamera(run)), clip === null), clip].filter(Boolean).reverse();
    this.#stop = button("trialStop", () => this.stop());
    const [title, note, label] = [el("h3"), el("p", { class: "sessions-note" }), el("label", { for: "trial-model" })];
    this.#words.push([title, "trialTitle"], [note, "trialNote"], [label, "trialModel"]);
    this.#node.append(
      el("div", { class: "trial-words" }, title, note, el("div", { class: "trial-controls" }, label, this.#model, ...this.#starts, this.#stop), this.#said, this.#speed),
      el("div", { class: "trial-frame" }, this.#screen, this.#video),
    );
    this.#show("trialIdle");
    this.relabel();
  }

  /** @param {(run: object) => Promise<void>} openSource starts the video */
  async #start(openSource) {
    this.stop();
    const run = { abort: new AbortController(), n: 0, sentAt: 0, frame: null, recent: [] };
    this.#run = run;
    this.#show("trialOpening");
    try {
      await openSource(run);
      const asked = { kind: "object", model: this.#model.value, client: CLIENT, ttl_s: TTL_S };
      run.session = await this.#server.open(asked, (session) => this.#wait(session), run.abort.signal);
      if (new URL(run.session.url).host !== this.#server.host) throw new Error(t("trialElsewhere"));
      run.socket = new SessionSocket(run.session, {
        ready: () => this.#sendFrame(run),
        result: (message) => this.#take(run, message),
        lost: (isOver) => (isOver ? this.stop("trialEnded") : this.#say("trialLost")),
      });
    } catch (error) {
      if (this.#run !== run) return;
      this.stop();
      setText(this.#said, { NotAllowedError: t("trialNoCamera"), NotFoundError: t("trialNoCamera") }[error.name] ?? t("trialFailed", error.message));
    }
  }

  async #openCamera(run) {
    // Only over HTTPS or from this machine does a browser lend its camera.
    if (navigator.mediaDevices === undefined) throw new Error(t("trialInsecure"));
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDTH_PX }, facingMode: "environment" } });
    run.stream = stream;
    if (run.abort.signal.aborted) {
      for (const track of stream.getTracks()) track.stop();
      run.abort.signal.throwIfAborted();
    }
    this.#video.srcObject = stream;
    await this.#video.play();
  }

  async #openClip() {
    this.#video.src = this.#clip;
    await this.#video.play();
  }

  /** One picture is on its way at a time: the next is taken when its boxes are here, so it is never an old one. */
  #sendFrame(run) {
    if (this.#run !== run) return;
    const scale = Math.min(1, WIDTH_PX / this.#video.videoWidth);
    const frame = el("canvas", { width: Math.round(this.#video.videoWidth * scale), height: Math.round(this.#video.videoHeight * scale) });
    frame.getContext("2d").drawImage(this.#video, 0, 0, frame.width, frame.height);
    frame.toBlob((jpeg) => {
      if (this.#run !== run || jpeg === null) return;
      run.frame = frame;
      run.n += 1;
      run.sentAt = performance.now();
      run.socket.send(run.n, jpeg);
    }, "image/jpeg", JPEG_QUALITY);
  }

  #take(run, { type, n, result, times, reason }) {
    if (this.#run !== run || n !== run.n) return;
    if (type === "error") {
      this.stop();
      setText(this.#said, t("trialFailed", reason));
      return;
    }
    drawBoxes(this.#screen, run.frame, result.boxes);
    const now = performance.now();
    run.recent = [...run.recent, { at: now, tookMs: now - run.sentAt, inferredMs: times.inferred_ms }].slice(-RECENT);
    this.#say("trialRunning", t(`where_${run.session.where}`), run.session.node ?? "");
    this.#tellSpeed(run.recent);
    this.#sendFrame(run);
  }

  #tellSpeed(recent) {
    const mean = (of) => recent.reduce((sum, each) => sum + of(each), 0) / recent.length;
    const span = recent.at(-1).at - recent[0].at;
    const rate = span > 0 ? ((recent.length - 1) * 1_000) / span : 0;
    setText(this.#speed, t("trialSpeed", decimal(rate), Math.round(mean(({ tookMs }) => tookMs)), Math.round(mean(({ inferredMs }) => inferredMs))));
  }

  #wait({ state, place, estimate_s }) {
    if (state === "waiting") this.#say("trialWaiting", place, Math.ceil(estimate_s));
    else this.#say("trialStarting");
  }

  #say(key, ...values) {
    setText(this.#said, t(key, ...values));
  }

  #show(key) {
    const isRunning = this.#run !== null;
    for (const start of this.#starts) start.hidden = isRunning;
    this.#model.disabled = isRunning;
    this.#stop.hidden = !isRunning;
    setText(this.#speed, "");
    this.#say(key);
  }
}
