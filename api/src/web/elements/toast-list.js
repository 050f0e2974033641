// Short messages: seen in a corner, and spoken by screen readers. They go by themselves, but not while they are read, and not
// while what they are about waits for an answer. They lie over the page, and cover nothing that can be pressed there.

import { everyBeat } from "../lib/clock.js";
import { h } from "../lib/dom.js";

/** @typedef {{kind?: "news" | "refusal", link?: {href: string, words: string}, stays?: () => boolean}} Manner `stays`: whether it is still to be seen */

const STAYS_MS = 7000;
const MOST_SHOWN = 3;
/** What a message should not cover, most important first: where there is no room for all, the last are given up. */
const UNCOVERED = ["button.primary, button.danger, .time", "button, input, select, textarea, summary", "hold-panel, stock-bar", "a, h1, h2, .price"];
/** Pixels around a message, and between two places that are tried. */
const [GAP, STEP] = [8, 4];

export class ToastList extends HTMLElement {
  #stop = () => {};

  connectedCallback() {
    this.setAttribute("role", "status");
    this.setAttribute("aria-live", "polite");
    this.setAttribute("aria-atomic", "false");
    const settle = () => this.#settle();
    // The page changes under a message: it is scrolled, and what could be pressed becomes something else.
    const stop = everyBeat(settle);
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
    const close = h("button", { type: "button", class: "quiet small", "aria-label": "Dismiss" }, "×");
    const item = h("p", { class: "toast", "data-kind": kind }, h("span", {}, words, link && " ", link && h("a", { href: link.href }, link.words)), close);
    close.addEventListener("click", () => item.remove());
    const leave = () => (stays() || item.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : item.remove());
    setTimeout(leave, STAYS_MS);
    this.append(item);
    while (this.childElementCount > MOST_SHOWN) this.firstElementChild?.remove();
    this.#settle();
  }

  /** Stays where it is while it covers nothing there; otherwise goes to the lowest place where it does not. */
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

/** Where the page shows what `selector` names between two columns. @param {string} selector @param {number} left @param {number} right */
function inSight(selector, left, right) {
  const found = [...document.querySelectorAll(selector)].filter((element) => !element.closest("toast-list"));
  const boxes = found.map((element) => element.getBoundingClientRect());
  return boxes.filter((box) => box.width > 1 && box.right > left && box.left < right && box.bottom > 0 && box.top < innerHeight);
}

/** Shows a message on the page's list. @param {string} words @param {Manner} [manner] */
export function toast(words, manner = {}) {
  const list = document.querySelector("toast-list");
  if (list instanceof ToastList) list.show(words, manner);
}
