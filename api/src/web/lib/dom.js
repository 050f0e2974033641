// Creates and finds elements. Strings are always inserted as text, never parsed as markup.

import { at } from "./base.js";

/** @typedef {Node | string | number | null | undefined | false} Child */
/**
 * @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>}
 *   Attributes
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an HTML element. Attributes such as `onclick` take functions; `true` sets an attribute
 * without a value, `false` and null set none. An `href` that begins with a slash is a path of the
 * shop: the base path is put before it.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  return populate(document.createElement(tag), attributes, children);
}

/**
 * Creates an SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes = {}, ...children) {
  return populate(
    /** @type {SVGElementTagNameMap[K]} */ (document.createElementNS(SVG, tag)),
    attributes,
    children,
  );
}

/**
 * @template {Element} T
 * @param {T} element
 * @param {Attributes} attributes
 * @param {Child[]} children
 * @returns {T}
 */
function populate(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, placed(name, String(value)));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false)
      element.append(typeof child === "number" ? String(child) : child);
  }
  return element;
}

/** @param {string} name @param {string} value */
function placed(name, value) {
  return name === "href" ? at(value) : value;
}

/** Returns the element with this id. @template {HTMLElement} T @param {string} id @returns {T} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (found);
}

/**
 * Sets the text if it differs, so that unchanged text is not announced, deselected or repainted.
 * @param {Element} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Sets an attribute if it differs; null removes it. An `href` is as for `h`.
 * @param {Element} element
 * @param {string} name
 * @param {string | null} value
 */
export function mark(element, name, value) {
  if (value === null) return element.removeAttribute(name);
  const wanted = placed(name, value);
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}
