/** How each hazard looks, by the server's table: a shape, a glyph and a colour, so that colour alone never carries the meaning. */

import { svg } from "./dom.js";

const OTHER = { shape: "M16 2a14 14 0 1 1 0 28 14 14 0 0 1 0-28z", glyph: ["M12 5v8M12 17v.5"] };
// What the server knows: {name, title: {en, ko}, look: {ink, soft, solid, shape, glyph}} for each hazard.
const table = new Map((await load()).map((hazard) => [hazard.name, hazard]));

export const HAZARDS = [...table.keys()];

addColours();

async function load() {
  try {
    const response = await fetch("hazards.json");
    if (response.ok) return (await response.json()).hazards;
  } catch (error) {
    console.warn("hazards.json could not be read: every hazard is shown as an alert", error);
  }
  return [];
}

/** A rule for each hazard; by the style sheet's own interface, since the page's policy allows no style in the document. */
function addColours() {
  const rules = [...table].map(([name, { look }]) => {
    const [ink, soft] = [look.ink, look.soft].map(([light, dark]) => ({ light, both: `light-dark(${light}, ${dark})` }));
    return `.hazard-${name} { --hazard: ${ink.light}; --hazard-soft: ${soft.light}; --hazard-solid: ${look.solid}; }
      @supports (color: light-dark(#000, #fff)) { .hazard-${name} { --hazard: ${ink.both}; --hazard-soft: ${soft.both}; } }`;
  });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(rules.join("\n"));
  document.adoptedStyleSheets.push(sheet);
}

/** The names of a hazard, by language; undefined where the server knows no such hazard. */
export function titleOf(hazard) {
  return table.get(hazard)?.title;
}

/** The one colour of a hazard that white text can stand on; undefined where the server knows no such hazard. */
export function solidOf(hazard) {
  return table.get(hazard)?.look.solid;
}

/** The known name of a hazard, or "other" for one that this page has never heard of. */
export function kind(hazard) {
  return HAZARDS.includes(hazard) ? hazard : "other";
}

/** The badge of a hazard as an SVG element: shape and glyph, hidden from screen readers (its name always stands beside it). */
export function badge(hazard, extraClass = "") {
  const known = kind(hazard);
  const look = table.get(known)?.look ?? OTHER;
  return svg(
    "svg",
    { class: `badge hazard-${known} ${extraClass}`.trim(), viewBox: "0 0 32 32", "aria-hidden": "true", focusable: "false" },
    svg("path", { class: "badge-shape", d: look.shape }),
    svg(
      "g",
      { class: "badge-glyph", transform: "translate(7.3 7.3) scale(0.725)" },
      ...look.glyph.map((d) => svg("path", { d })),
    ),
  );
}
