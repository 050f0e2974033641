// Short messages in a corner, announced by screen readers. They disappear automatically, but not
// while the pointer or focus is on them, and not while their subject needs a decision. They overlay
// the page and never cover a control: where there is no place for all of them, the older ones wait,
// and without any place all wait until the page has one.

import { TICK_MS, everyTick } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { text } from "../lib/text.js";

/**
 * @typedef {{kind?: "news" | "refusal", link?: {href: string, words: string},
 *   stays?: () => boolean}} Manner `stays`: returns whether the message must remain visible
 */

const STAYS_TICKS = 7000 / TICK_MS;
const MOST_SHOWN = 3;
/** Elements that a message never covers. */
const CONTROLS = "button, input, select, textarea, summary, .button, .time, .top";
/**
 * Elements that a message should not cover, most important first. If there is not enough space, the
 * last ones may be covered.
 */
const UNCOVERED = ["hold-panel, stock-bar", "a, h1, h2, .price"];
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
    // The page changes under a message: it is scrolled, and buttons appear. An observer is called
    // before the next frame, so no frame shows a message over a new button.
    const stop = everyTick(settle);
    const changes = new MutationObserver(() => {
      if (this.firstElementChild) this.#settle();
    });
    const main = document.querySelector("main");
    if (main) changes.observe(main, { attributes: true, childList: true, subtree: true });
    addEventListener("scroll", settle, { capture: true, passive: true });
    addEventListener("resize", settle);
    this.#stop = () => {
      stop();
      changes.disconnect();
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
      { type: "button", class: "quiet small", "aria-label": text("toast.dismiss") },
      "×",
    );
    const item = h(
      "p",
      { class: "toast", "data-kind": kind },
      h("span", {}, words, link && " ", link && h("a", { href: link.href }, link.words)),
      close,
    );
    close.addEventListener("click", () => item.remove());
    let shownFor = 0;
    const stop = everyTick(() => {
      if (!item.isConnected) return stop();
      // The time begins when the message is visible.
      if (!item.hasAttribute("data-waiting")) shownFor += 1;
      const isKept = stays() || item.matches(":hover, :focus-within");
      if (shownFor < STAYS_TICKS || isKept) return undefined;
      item.remove();
      return stop();
    });
    this.append(item);
    while (this.childElementCount > MOST_SHOWN) this.firstElementChild?.remove();
    this.#settle();
  }

  /**
   * Shows as many of the latest messages as there is a place for, and places them: where they are,
   * if that covers nothing; otherwise at the lowest free place. An older message waits rather than
   * covers the panel of a hold.
   */
  #settle() {
    const items = [...this.children];
    for (const least of [1, 0]) {
      for (let hidden = 0; hidden < items.length; hidden += 1) {
        items.forEach((item, index) => item.toggleAttribute("data-waiting", index < hidden));
        if (this.#place(least)) return;
      }
    }
    for (const item of items) item.toggleAttribute("data-waiting", true);
    this.style.bottom = "";
  }

  /**
   * Returns whether there is a place that covers no control and none of the first `least` kinds of
   * other elements, and takes it.
   * @param {number} least
   */
  #place(least) {
    const { height, left, right } = this.getBoundingClientRect();
    const now = parseFloat(getComputedStyle(this).bottom) || 0;
    for (let kinds = UNCOVERED.length; kinds >= least; kinds -= 1) {
      const taken = inSight(
        [CONTROLS, ...UNCOVERED.slice(0, kinds)].join(),
        left - GAP,
        right + GAP,
      );
      const isFree = (/** @type {number} */ bottom) => {
        const [top, end] = [innerHeight - bottom - height - GAP, innerHeight - bottom + GAP];
        return top >= 0 && taken.every((box) => box.bottom <= top || box.top >= end);
      };
      if (isFree(now)) return true;
      for (let bottom = 2 * GAP; bottom < innerHeight - height; bottom += STEP) {
        if (!isFree(bottom)) continue;
        this.style.bottom = `${bottom}px`;
        return true;
      }
    }
    return false;
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
