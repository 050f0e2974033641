// Everything that this buyer has or had, newest first, whether its drop is still on or not.

import { everyBeat, until } from "../lib/clock.js";
import { h, write } from "../lib/dom.js";
import { clock, duration, money, ordinal, units } from "../lib/format.js";
import { check } from "../lib/shop.js";
import { yours } from "../lib/yours.js";

/** @typedef {import("../lib/yours.js").Entry} Entry */

const MOST_SHOWN = 8;

export class YourList extends HTMLElement {
  #list = h("ul", { class: "plain rows" });
  #none = h("p", { class: "quiet-words" }, "Nothing yet. What you hold or buy is listed here, and is still here after a refresh.");
  #stop = () => {};

  connectedCallback() {
    this.replaceChildren(this.#list, this.#none);
    const show = () => this.#show();
    yours.addEventListener("change", show);
    const stop = everyBeat(() => this.#beat());
    this.#stop = () => {
      stop();
      yours.removeEventListener("change", show);
    };
    show();
  }

  disconnectedCallback() {
    this.#stop();
  }

  #show() {
    const shown = yours.entries.slice(0, MOST_SHOWN);
    this.#none.hidden = shown.length > 0;
    const row = (/** @type {Entry} */ entry) => h("li", { "data-stage": entry.stage, "data-key": entry.key },
      h("a", { href: `/drops/${entry.drop_id}` }, entry.drop_name), h("span", { class: "tabular" }, describe(entry)));
    this.#list.replaceChildren(...shown.map(row));
  }

  #beat() {
    yours.entries.slice(0, MOST_SHOWN).forEach((entry, index) => {
      const words = this.#list.children[index]?.lastElementChild;
      if (words) write(words, describe(entry));
      // A drop that is over has no card that would ask.
      if (entry.stage === "held" && entry.hold && until(entry.hold.expires_at) < -1000) void check(entry);
    });
  }
}
customElements.define("your-list", YourList);

/** @param {Entry} entry */
function describe(entry) {
  const quantity = units(entry.quantity, "unit");
  switch (entry.stage) {
    case "held":
      return `${quantity} held · ${duration(until(entry.hold?.expires_at ?? ""))}`;
    case "purchased":
      return `${quantity} bought · ${money(entry.total ?? entry.price, entry.total ? 1 : entry.quantity)}`;
    case "expired":
      return `ran out at ${clock(entry.hold?.expires_at ?? 0)}`;
    case "released":
      return "released";
    case "waiting":
    case "leaving":
      return entry.waiting?.place ? `${ordinal(entry.waiting.place)} in line` : "in line";
    case "asking":
    case "joining":
    case "buying":
    case "releasing":
    case "checking":
      return "asking…";
  }
}
