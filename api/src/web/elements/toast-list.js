// Short messages: seen in a corner, and spoken by screen readers. They go by themselves, but not while somebody reads them, and not
// while what they are about waits for an answer.

import { h } from "../lib/dom.js";

/** @typedef {{kind?: "news" | "refusal", link?: {href: string, words: string}, stays?: () => boolean}} Manner `stays`: whether it is still to be seen */

const STAYS_MS = 7000;
const MOST_SHOWN = 3;

export class ToastList extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "status");
    this.setAttribute("aria-live", "polite");
    this.setAttribute("aria-atomic", "false");
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
  }
}
customElements.define("toast-list", ToastList);

/** Shows a message on the page's list. @param {string} words @param {Manner} [manner] */
export function toast(words, manner = {}) {
  const list = document.querySelector("toast-list");
  if (list instanceof ToastList) list.show(words, manner);
}
