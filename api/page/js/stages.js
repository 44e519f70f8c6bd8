/** How long each stage of the relay took: the bars of one incident, and the usual times of the last ones. */

import { el, svg } from "./dom.js";
import { duration, nameOf, t } from "./i18n.js";

const MOST_STAGES = 8;

/**
 * The stages that can be drawn, in seconds after the first of them began.
 * @param {{name: string, got_at: string, done_at: string}[]|null} stages
 * @returns {{name: string, from: number, took: number}[]}
 */
export function timesOf(stages) {
  const read = (stages ?? [])
    .map((stage) => ({ name: String(stage?.name ?? ""), got: Date.parse(stage?.got_at), done: Date.parse(stage?.done_at) }))
    .filter(({ got, done }) => Number.isFinite(got) && Number.isFinite(done) && done >= got)
    .slice(0, MOST_STAGES);
  const start = Math.min(...read.map(({ got }) => got));
  return read.map(({ name, got, done }) => ({ name, from: (got - start) / 1000, took: (done - got) / 1000 })).sort((a, b) => a.from - b.from);
}

/** A bar for each stage on one time axis; null where nothing is known. */
export function stageBars(stages) {
  const times = timesOf(stages);
  if (times.length === 0) return null;
  const whole = Math.max(0.001, ...times.map(({ from, took }) => from + took));
  const rows = times.map(({ name, from, took }) =>
    el(
      "li",
      { class: "stage" },
      el("span", { class: "sr-only", text: t("stage", nameOf(name), duration(took), duration(from)) }),
      el("span", { class: "stage-name", text: nameOf(name), "aria-hidden": "true" }),
      bar(from / whole, took / whole),
      el("span", { class: "stage-took", text: duration(took), "aria-hidden": "true" }),
    ),
  );
  const head = el("h3", { class: "section-title" }, el("span", { text: t("stageTitle") }), el("span", { class: "section-value", text: duration(whole) }));
  return el("section", { class: "stages" }, head, el("ol", {}, ...rows));
}

/** The median seconds that each stage took in these incidents, by its name; `pin` is from the camera to the map. */
export function usualTimes(incidents) {
  const all = new Map();
  const put = (name, seconds) => all.set(name, [...(all.get(name) ?? []), seconds]);
  for (const incident of incidents) {
    if (incident.pinS !== null) put("pin", incident.pinS);
    for (const { name, took } of timesOf(incident.stages)) put(name, took);
  }
  return new Map([...all].map(([name, values]) => [name, median(values)]));
}

function bar(from, share) {
  const least = 0.012; // A stage of a millisecond is still there.
  const width = Math.max(least, share);
  const x = Math.min(from, 1 - width);
  return svg(
    "svg",
    { class: "stage-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" },
    svg("rect", { class: "stage-track", x: 0, y: 0, width: 100, height: 8 }),
    svg("rect", { class: "stage-time", x: x * 100, y: 0, width: width * 100, height: 8 }),
  );
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
