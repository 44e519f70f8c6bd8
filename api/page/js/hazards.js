/** How each hazard looks: a shape, a glyph and (in style.css) a colour, so that colour alone never carries the meaning. */

import { svg } from "./dom.js";

export const HAZARDS = ["accident", "fire", "gun", "knife"];

// Outlines in a 32 x 32 box, glyphs in a 24 x 24 box drawn at its middle.
const SHAPES = {
  accident: "M16 1.6l14.4 14.4-14.4 14.4L1.6 16z",
  fire: "M16 2a14 14 0 1 1 0 28 14 14 0 0 1 0-28z",
  gun: "M9 3.5h14L30.5 16 23 28.5H9L1.5 16z",
  knife: "M7 3h18a4 4 0 0 1 4 4v18a4 4 0 0 1-4 4H7a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z",
  other: "M16 2a14 14 0 1 1 0 28 14 14 0 0 1 0-28z",
};

const GLYPHS = {
  accident: [
    "M2.5 16.5v-3l1.6-1 2-4h6.4l3.2 3.7 2.8.9v3.4h-1.7a2.2 2.2 0 0 0-4.4 0H9a2.2 2.2 0 0 0-4.4 0z",
    "M6.8 15.2a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zM14.6 15.2a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3z",
    "M17.3 10.2l.4-3.5 1.5 2 2.5-1.4-.9 2.7 2.3 1.1-2.9 1z",
  ],
  fire: [
    "M12.3 2.5c.8 4.3 5.7 6 5.7 11.8 0 3.9-2.7 6.7-6 6.7s-6-2.8-6-6.6c0-2.8 1.3-4.7 2.8-6.1.2 1.8.9 2.7 1.9 3.2-.4-3.3.3-6.3 1.6-9z",
  ],
  gun: ["M2.5 6.5h18l1 1.2v3h-7.3l-.6 2.9a1.6 1.6 0 0 1-1.6 1.3H9.5L8.4 19.5H3.6l1.6-8.3H3.5l-1-1.5z"],
  knife: ["M20.5 2.8c1 5.4-2.2 10-7 12.7l-3.4-3.4z", "M9.3 12.9l3.3 3.3-5.6 5a1.9 1.9 0 0 1-2.7-2.7z"],
  other: ["M12 5v8M12 17v.5"],
};

/** The known name of a hazard, or "other" for one that this page has never heard of. */
export function kind(hazard) {
  return HAZARDS.includes(hazard) ? hazard : "other";
}

/** The badge of a hazard as an SVG element: shape and glyph, hidden from screen readers (its name always stands beside it). */
export function badge(hazard, extraClass = "") {
  const known = kind(hazard);
  return svg(
    "svg",
    { class: `badge hazard-${known} ${extraClass}`.trim(), viewBox: "0 0 32 32", "aria-hidden": "true", focusable: "false" },
    svg("path", { class: "badge-shape", d: SHAPES[known] }),
    svg(
      "g",
      { class: "badge-glyph", transform: "translate(7.3 7.3) scale(0.725)" },
      ...GLYPHS[known].map((d) => svg("path", { d })),
    ),
  );
}
