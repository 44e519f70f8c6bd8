/** Elements without innerHTML: text goes in as text, so a hostile camera name or caption stays inert. */

/** The path that the page's own addresses begin with: "/", or "/cctv/" where it shares a host with others. */
export const BASE = new URL(".", document.baseURI).pathname;

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} tag
 * @param {Object<string, string|number|boolean|null|undefined|Function>} attributes `class`, `text`, `on…` handlers, the rest as
 *   attributes; null, undefined and false are left out.
 * @param {...(Node|null|undefined)} children
 */
export function el(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** An SVG element, with the same rules as `el`. */
export function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

/** Set the text only where it differs, so that a screen reader is not told the same thing again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** `url` if a browser may safely load it as a picture, else null; one of ours comes back as a path on this host. */
export function safeUrl(url) {
  if (typeof url !== "string" || url === "") return null;
  try {
    const parsed = new URL(url, document.baseURI);
    // The feed's addresses carry the public name of the site; its pictures are here too, by whatever name this is read.
    const [ours] = /\/api\/(?:incidents|posts|cameras)\/.*/.exec(parsed.pathname) ?? [];
    if (ours !== undefined) return BASE + ours.slice(1) + parsed.search;
    return parsed.protocol === "http:" || parsed.protocol === "https:" ? parsed.href : null;
  } catch {
    return null;
  }
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = String(value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
