/** How a pin looks: its hazard by shape and colour, its age by size and strength; a crowd is a ring of its hazards' shares. */

import { countKinds } from "./announce.js";
import { el, svg } from "./dom.js";
import { badge, kind } from "./hazards.js";
import { icon } from "./icons.js";
import { ago, nameOf, t } from "./i18n.js";

// What a finger can hit; what is drawn is smaller.
export const PIN_PX = 44;
const RECENT_MS = 60_000;
const RING_RADIUS = 17;

/**
 * What decides how a pin of these incidents looks, as plain data: it is drawn again only where this differs.
 * @param {object[]} incidents one or more, at one place or close together
 * @param {boolean} isCrowd whether they are of several places
 * @param {string|null} selected the incident that is open
 */
export function pinLook(incidents, isCrowd, selected) {
  const real = incidents.filter((incident) => !incident.isFalse && !incident.isHeld);
  const shown = real.length > 0 ? real : incidents;
  const newest = shown.reduce((a, b) => (a.lastSeen >= b.lastSeen ? a : b));
  const shares = {};
  for (const { hazard } of shown) shares[kind(hazard)] = (shares[kind(hazard)] ?? 0) + 1;
  return {
    hazard: kind(newest.hazard),
    count: incidents.length,
    shares: Object.entries(shares).sort(),
    age: ageOf(newest),
    isRecent: newest.isOpen && Date.now() - newest.lastSeen < RECENT_MS,
    isFalse: real.length === 0,
    isAcknowledged: !isCrowd && newest.isAcknowledged,
    isSelected: incidents.some((incident) => incident.id === selected),
    isCrowd,
  };
}

/** A Leaflet icon of that look. */
export function pinIcon(look) {
  const classes = ["pin", `hazard-${look.hazard}`, `is-${look.age}`];
  for (const name of ["isRecent", "isSelected", "isCrowd", "isFalse"]) {
    if (look[name]) classes.push(name.replace("is", "is-").toLowerCase());
  }
  const count = look.count > 99 ? "99+" : look.count;
  const html = look.isCrowd
    ? el("span", { class: "pin-inner" }, pulse(), ring(look.shares), el("span", { class: "crowd-count", text: count }))
    : el(
        "span",
        { class: "pin-inner" },
        pulse(),
        badge(look.hazard),
        look.count > 1 ? el("span", { class: "pin-count", text: count }) : null,
        look.isAcknowledged ? el("span", { class: "pin-check" }, icon("check")) : null,
      );
  return L.divIcon({ className: classes.join(" "), html, iconSize: [PIN_PX, PIN_PX] });
}

/** The pin in words. */
export function describe(incidents, newest, isCrowd) {
  if (isCrowd) return t("cluster", incidents.length, countKinds(incidents));
  const text = t("pin", nameOf(kind(newest.hazard)), newest.place || t("unknownPlace"), ago(newest.lastSeen));
  const marks = [newest.isFalse ? t("tagFalse") : newest.isHeld ? t("tagHeld") : "", newest.isAcknowledged ? t("tagAcknowledged") : ""];
  return [text, ...marks, incidents.length > 1 ? t("pins", incidents.length) : ""].filter(Boolean).join(". ");
}

function ageOf({ isOpen, lastSeen }) {
  const age = Date.now() - lastSeen;
  if (isOpen) return "now";
  return age < 3600e3 ? "hour" : age < 86400e3 ? "day" : "old";
}

function pulse() {
  return el("span", { class: "pin-pulse" });
}

/** A ring whose arcs are the hazards' shares, clockwise from the top. */
function ring(shares) {
  const whole = shares.reduce((sum, [, count]) => sum + count, 0);
  let begun = 0;
  const arcs = shares.map(([hazard, count]) => {
    const share = (count / whole) * 100;
    const gap = shares.length > 1 ? 2 : 0;
    const arc = svg("circle", {
      class: `ring-arc hazard-${hazard}`, cx: 22, cy: 22, r: RING_RADIUS, pathLength: 100, transform: "rotate(-90 22 22)",
      "stroke-dasharray": `${Math.max(1, share - gap)} 100`, "stroke-dashoffset": -begun,
    });
    begun += share;
    return arc;
  });
  return svg("svg", { class: "ring", viewBox: "0 0 44 44", "aria-hidden": "true", focusable: "false" }, svg("circle", { class: "ring-disc", cx: 22, cy: 22, r: 21 }), ...arcs);
}
