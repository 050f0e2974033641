// Short messages in a corner, announced by screen readers. They disappear automatically, but not
// while the pointer or focus is on them, and not while their subject needs a decision. They overlay
// the page without covering its buttons.

import { everyTick } from "../lib/clock.js";
import { h } from "../lib/dom.js";

/**
 * @typedef {{kind?: "news" | "refusal", link?: {href: string, words: string},
 *   stays?: () => boolean}} Manner `stays`: returns whether the message must remain visible
 */

const STAYS_MS = 7000;
const MOST_SHOWN = 3;
/**
 * Elements that a message should not cover, most important first. If there is not enough space, the
 * last ones may be covered.
 */
const UNCOVERED = [
  "button.primary, button.danger, .time",
  "button, input, select, textarea, summary",
  "hold-panel, stock-bar",
  "a, h1, h2, .price",
];
/**
 * The margin around a message, and the distance between two positions that are tried, in pixels.
 */
const [GAP, STEP] = [8, 4];

export class ToastList extends HTMLElement {
  #stop = () => {};

  connectedCallback() {
    this.setAttribute("role", "status");
    this.setAttribute("aria-live", "polite");
    this.setAttribute("aria-atomic", "false");
    const settle = () => this.#settle();
    // The page changes under a message: it is scrolled, and buttons appear.
    const stop = everyTick(settle);
    addEventListener("scroll", settle, { capture: true, passive: true });
    addEventListener("resize", settle);
    this.#stop = () => {
      stop();
      removeEventListener("scroll", settle, { capture: true });
      removeEventListener("resize", settle);
    };
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {string} words @param {Manner} manner */
  show(words, { kind = "news", link, stays = () => false }) {
    const close = h(
      "button",
      { type: "button", class: "quiet small", "aria-label": "Dismiss" },
      "×",
    );
    const item = h(
      "p",
      { class: "toast", "data-kind": kind },
      h("span", {}, words, link && " ", link && h("a", { href: link.href }, link.words)),
      close,
    );
    close.addEventListener("click", () => item.remove());
    const leave = () =>
      stays() || item.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : item.remove();
    setTimeout(leave, STAYS_MS);
    this.append(item);
    while (this.childElementCount > MOST_SHOWN) this.firstElementChild?.remove();
    this.#settle();
  }

  /**
   * Keeps the position if it covers nothing important; otherwise moves to the lowest free position.
   */
  #settle() {
    const { height, left, right } = this.getBoundingClientRect();
    if (height === 0) {
      this.style.bottom = "";
      return;
    }
    const now = parseFloat(getComputedStyle(this).bottom) || 0;
    for (let kinds = UNCOVERED.length; kinds > 0; kinds -= 1) {
      const taken = inSight(UNCOVERED.slice(0, kinds).join(), left - GAP, right + GAP);
      const isFree = (/** @type {number} */ bottom) => {
        const [top, end] = [innerHeight - bottom - height - GAP, innerHeight - bottom + GAP];
        return top >= 0 && taken.every((box) => box.bottom <= top || box.top >= end);
      };
      if (isFree(now)) return;
      for (let bottom = 2 * GAP; bottom < innerHeight - height; bottom += STEP) {
        if (!isFree(bottom)) continue;
        this.style.bottom = `${bottom}px`;
        return;
      }
    }
  }
}
customElements.define("toast-list", ToastList);

/**
 * The boxes of visible elements that match `selector` between two x coordinates.
 * @param {string} selector
 * @param {number} left
 * @param {number} right
 */
function inSight(selector, left, right) {
  const found = [...document.querySelectorAll(selector)].filter(
    (element) => !element.closest("toast-list"),
  );
  const boxes = found.map((element) => element.getBoundingClientRect());
  return boxes.filter(
    (box) =>
      box.width > 1 &&
      box.right > left &&
      box.left < right &&
      box.bottom > 0 &&
      box.top < innerHeight,
  );
}

/** Shows a message on the page's list. @param {string} words @param {Manner} [manner] */
export function toast(words, manner = {}) {
  const list = document.querySelector("toast-list");
  if (list instanceof ToastList) list.show(words, manner);
}
