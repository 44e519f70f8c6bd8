/** Line icons of the controls, drawn in a 24 x 24 box; a word or a label always stands beside them. */

import { svg } from "./dom.js";

const PATHS = {
  link: ["M10 14a4 4 0 0 0 5.7 0l3.6-3.6a4 4 0 0 0-5.7-5.7L12.4 6", "M14 10a4 4 0 0 0-5.7 0l-3.6 3.6a4 4 0 0 0 5.7 5.7l1.2-1.3"],
  check: ["M4.5 12.5l5 5 10-11"],
  flag: ["M5 21V4", "M5 4.5c5-2.5 8 2.5 14 0v9c-6 2.5-9-2.5-14 0"],
  person: ["M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "M4.5 20.5c.8-4 3.8-6 7.5-6s6.7 2 7.5 6"],
  left: ["M15 5l-7 7 7 7"],
  right: ["M9 5l7 7-7 7"],
  close: ["M6 6l12 12M18 6L6 18"],
  late: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M12 7.5v5l3 2"],
  feed: ["M5 11a8 8 0 0 1 8 8", "M5 5a14 14 0 0 1 14 14", "M5.5 18.5h.01"],
  camera: ["M4 8h3l2-3h6l2 3h3v11H4z", "M12 10a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7z"],
  play: ["M8 5.5v13l10.5-6.5z"],
  undo: ["M9 14L4 9l5-5", "M4 9h10a6 6 0 0 1 0 12h-3"],
};

export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, ...PATHS[name].map((d) => svg("path", { d })));
}
