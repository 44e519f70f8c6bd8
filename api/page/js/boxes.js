/** Draws a frame and what was found in it on a canvas. */

import { solidOf } from "./hazards.js";
import { nameOf, percent } from "./i18n.js";

const OTHER = "#e8622c";

/**
 * @param {HTMLCanvasElement} screen takes the size of the frame
 * @param {HTMLCanvasElement} frame
 * @param {{label: string, confidence: number, x1: number, y1: number, x2: number, y2: number}[]} boxes in fractions of the frame
 */
export function drawBoxes(screen, frame, boxes) {
  if (screen.width !== frame.width || screen.height !== frame.height) Object.assign(screen, { width: frame.width, height: frame.height });
  const pen = screen.getContext("2d");
  pen.drawImage(frame, 0, 0);
  const unit = Math.max(1, frame.width / 320);
  pen.lineWidth = unit;
  pen.font = `600 ${Math.round(7 * unit)}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  // The least certain first: what is certain stays readable.
  for (const box of boxes.toReversed()) drawBox(pen, box, frame, unit);
}

function drawBox(pen, { label, confidence, x1, y1, x2, y2 }, { width, height }, unit) {
  const [x, y] = [x1 * width, y1 * height];
  const text = `${nameOf(label)} ${percent(confidence)}`;
  const [textWidth, textHeight] = [pen.measureText(text).width + 4 * unit, 9 * unit];
  const textY = y > textHeight ? y - textHeight : y;
  const textX = Math.max(0, Math.min(x, width - textWidth));
  pen.strokeStyle = pen.fillStyle = solidOf(label) ?? OTHER;
  pen.strokeRect(x, y, (x2 - x1) * width, (y2 - y1) * height);
  pen.fillRect(textX, textY, textWidth, textHeight);
  pen.fillStyle = "#fff";
  pen.fillText(text, textX + 2 * unit, textY + 1.2 * unit);
}
